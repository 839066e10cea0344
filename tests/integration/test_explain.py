"""ExplainOrder: why an order is where it is, in each place where it can be."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from order_service.pb import order_pb2
from tests.integration.calls import an_order
from tests.integration.conftest import Shared
from tests.integration.peers import Recorder, StockService, no_answer, refusal, success
from tests.integration.platform import Platform, gateway
from tests.integration.tcp_proxy import TcpProxy
from tests.waiting import eventually

CLOCK = r"\d\d:\d\d:\d\d"


async def test_waiting_for_stock(shared: Shared, user: str) -> None:
    async with StockService.running(shared.platform, no_answer), gateway(shared.api) as stub:
        order_id = (await stub.CreateOrder(an_order(user))).order.id
        told = await eventually(lambda: explained(stub, order_id, user, "was confirmed"))

    left = told.deadline_at.ToDatetime(UTC) - datetime.now(UTC)
    assert re.fullmatch(
        rf"PENDING: waiting for StockUpdateResult for \d+ s, deadline in (60|[345]\d) s;"
        rf" order.created was confirmed by the broker at {CLOCK}",
        told.sentence,
    )
    assert (told.status, told.waiting_for) == (order_pb2.PENDING, "StockUpdateResult")
    assert timedelta(seconds=30) < left < timedelta(seconds=61)
    assert timedelta() <= told.waited.ToTimedelta() < timedelta(seconds=30)
    assert [(step.name, step.state) for step in told.steps] == [("stock", "ASKED")]
    assert told.last_event.type == "order.created"
    assert told.last_event.HasField("confirmed_at")
    assert not told.unsent_events


async def test_confirmed(shared: Shared, user: str) -> None:
    async with (
        StockService.running(shared.platform, success),
        Recorder.running(shared.platform),
        gateway(shared.api) as stub,
    ):
        order_id = (await stub.CreateOrder(an_order(user))).order.id
        told = await eventually(lambda: explained(stub, order_id, user, "order.confirmed was confirmed"))

    assert re.fullmatch(
        rf"CONFIRMED: every step of the saga succeeded; order.confirmed was confirmed by the broker at {CLOCK}",
        told.sentence,
    )
    assert (told.waiting_for, told.HasField("waited"), told.HasField("deadline_at")) == ("", False, False)
    assert [(step.name, step.state) for step in told.steps] == [("stock", "HELD")]


async def test_refused_in_the_peers_words(shared: Shared, user: str) -> None:
    async with StockService.running(shared.platform, refusal), gateway(shared.api) as stub:
        order_id = (await stub.CreateOrder(an_order(user))).order.id
        told = await eventually(lambda: explained(stub, order_id, user, "CANCELLED"))

    assert told.sentence.startswith("CANCELLED: STOCK_REFUSED (none left); ")
    assert (told.status_reason.code, told.status_reason.message) == ("STOCK_REFUSED", "none left")
    assert [step.state for step in told.steps] == ["REFUSED"]


async def test_timed_out(shared: Shared, user: str) -> None:
    async with StockService.running(shared.platform, no_answer), gateway(shared.api) as stub:
        order_id = (await stub.CreateOrder(an_order(user))).order.id
        await shared.platform.query("update order_service.sagas set deadline_at = now() where order_id = %s", order_id)
        told = await eventually(lambda: explained(stub, order_id, user, "CANCELLED"))

    assert told.sentence.startswith("CANCELLED: STOCK_TIMEOUT (no StockUpdateResult came in time); ")
    assert [step.state for step in told.steps] == ["ABANDONED"]


async def test_cancelled_by_its_owner(shared: Shared, user: str) -> None:
    async with StockService.running(shared.platform, no_answer), gateway(shared.api) as stub:
        order_id = (await stub.CreateOrder(an_order(user))).order.id
        await stub.CancelOrder(order_pb2.CancelOrderRequest(order_id=order_id, user_id=user))
        told = await explain(stub, order_id, user)

    assert told.sentence.startswith("CANCELLED: CANCELLED_BY_OWNER; ")


async def test_waiting_in_the_outbox_while_the_broker_is_away(platform: Platform) -> None:
    async with TcpProxy.to(platform.rabbitmq_url) as (proxy, url):
        api, worker = await platform.start_both(RABBITMQ_URL=url)
        async with gateway(api) as stub:
            await proxy.cut()
            await eventually(lambda: not worker.metric("order_service_broker_connected", role="relay"))
            order_id = (await stub.CreateOrder(an_order())).order.id
            told = await explain(stub, order_id, "ada")

    assert re.fullmatch(
        r"PENDING: waiting for StockUpdateResult for \d+ s, deadline in \d+ s; order.created waits in the outbox",
        told.sentence,
    )
    assert [(event.type, event.version, event.attempts, event.last_failure) for event in told.unsent_events] == [
        ("order.created", 1, 0, "")
    ]
    assert not told.last_event.HasField("confirmed_at")


async def test_given_back_by_the_broker_because_nobody_listens(platform: Platform) -> None:
    api, _ = await platform.start_both()
    before = datetime.now(UTC)

    async with gateway(api) as stub:
        order_id = (await stub.CreateOrder(an_order())).order.id
        told = await eventually(lambda: explained(stub, order_id, "ada", "returned"))

    assert re.search(
        rf"; order.created has not been taken by the broker after \d+ attempts \(returned: no queue is bound\),"
        rf" next at {CLOCK}$",
        told.sentence,
    )
    (unsent,) = told.unsent_events
    assert unsent.attempts >= 1
    assert unsent.last_failure == "returned: no queue is bound"
    assert before < unsent.next_attempt_at.ToDatetime(UTC) < datetime.now(UTC) + timedelta(minutes=1, seconds=15)


async def test_parked_after_nobody_listened_for_long(platform: Platform) -> None:
    api, _ = await platform.start_both(RELAY_PARK_AFTER="1s")

    async with gateway(api) as stub:
        order_id = (await stub.CreateOrder(an_order())).order.id
        told = await eventually(lambda: explained(stub, order_id, "ada", "parked"))

    assert re.search(r"order.created is parked after \d+ attempts \(returned: no queue is bound\)$", told.sentence)
    assert not told.unsent_events[0].HasField("next_attempt_at")


async def test_overdue_while_no_worker_runs(platform: Platform) -> None:
    api = await platform.start_api()

    async with gateway(api) as stub:
        order_id = (await stub.CreateOrder(an_order())).order.id
        await platform.query("update order_service.sagas set deadline_at = now() - interval '9 seconds'")
        told = await explain(stub, order_id, "ada")

    assert re.search(r"deadline passed (9|[1-5]\d) s ago and is about to be acted upon", told.sentence)


async def explain(stub: Any, order_id: str, user: str) -> order_pb2.ExplainOrderResponse:
    """What the service says about an order."""
    told: order_pb2.ExplainOrderResponse = await stub.ExplainOrder(
        order_pb2.ExplainOrderRequest(order_id=order_id, user_id=user)
    )
    return told


async def explained(stub: Any, order_id: str, user: str, word: str) -> order_pb2.ExplainOrderResponse | None:
    """The same once its sentence has a certain word."""
    told = await explain(stub, order_id, user)
    return told if word in told.sentence else None
