"""Servers of gRPC that listen on one port together."""

import pytest

from order_service.api.acceptors import Listening, accept
from order_service.api.call_traces import CallTraces
from order_service.api.connections import share_port
from order_service.api.methods import Methods
from order_service.api.ports import PortTaken
from order_service.telemetry.sampling import Sampling

NO_METHODS = Methods({}, {}, CallTraces(Sampling(0.0)))
ANY = Listening("127.0.0.1", 0, reflection=False)


async def test_a_port_is_taken_until_it_is_shared_and_then_by_those_who_mean_to_share_it() -> None:
    first = await accept(ANY, NO_METHODS)
    alone = Listening("127.0.0.1", first.port, reflection=False)
    joining = Listening("127.0.0.1", first.port, reflection=False, shared=True)

    with pytest.raises(PortTaken):
        await accept(joining, NO_METHODS)
    share_port(first.port)
    second = await accept(joining, NO_METHODS)
    with pytest.raises(PortTaken):
        await accept(alone, NO_METHODS)

    assert first.listens()
    assert second.listens()
    await first.server.stop(None)
    assert not first.listens()
    assert second.listens()
    await second.server.stop(None)
