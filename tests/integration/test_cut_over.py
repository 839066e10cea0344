"""The command line: the queue of the service before this one is taken over, and nothing is lost or done twice."""

import asyncio
import dataclasses
import functools
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any
from uuid import uuid4

import pytest
from aio_pika.abc import AbstractChannel

from order_service.domain.status import OrderStatus
from tests.integration.calls import an_order
from tests.integration.commands import ended, run, started, succeed
from tests.integration.held_back import held_back
from tests.integration.peers import PlainMessage, Source, StockService, bound_queue, no_answer
from tests.integration.platform import Platform, Servers, gateway
from tests.integration.tcp_proxy import TcpProxy
from tests.waiting import eventually

OLD = Source("order_service_stock_update_queue", "stock_update_exchange", "fanout")
OWN = "order_service.stock_update_results"
CUT_OVER = ("cut-over", "--json")
NO_DEADLINE = {"SAGA_STOCK_TIMEOUT": "1h"}
"""However long the runs take: what is not confirmed by a reply must not end by itself."""


async def place(stub: Any, user: str, count: int) -> list[str]:
    """So many orders that wait for stock; their ids."""
    answers = await asyncio.gather(*(stub.CreateOrder(an_order(user)) for _ in range(count)))
    return [answer.order.id for answer in answers]


def reply_to(order_id: str) -> bytes:
    return json.dumps({"order_id": order_id, "success": True}).encode()


async def send(channel: AbstractChannel, order_ids: Iterable[str], exchange: str = OLD.exchange) -> None:
    """As the stock service replies: to everybody who listens."""
    to = await channel.get_exchange(exchange)
    for order_id in order_ids:
        await to.publish(PlainMessage(reply_to(order_id)), "", mandatory=False)


async def send_to_old_only(channel: AbstractChannel, order_ids: Iterable[str]) -> None:
    """What was replied before our own queue was there."""
    for order_id in order_ids:
        await channel.default_exchange.publish(PlainMessage(reply_to(order_id)), OLD.queue)


async def old_queue(platform: Platform) -> None:
    async with platform.broker() as channel:
        await bound_queue(channel, OLD)


def is_bound(platform: Platform) -> bool:
    """Whether the old queue still gets what the stock service replies."""
    bindings = platform.management.call("GET", f"queues/{platform.management.name}/{OLD.queue}/bindings")
    return OLD.exchange in {one["source"] for one in bindings}


async def statuses(platform: Platform, order_ids: Sequence[str]) -> Counter[str]:
    rows = await platform.query(
        "select status, version from order_service.orders where order_id = any(%s::uuid[])", list(order_ids)
    )
    assert all(version == (1 if status == "PENDING" else 2) for status, version in rows)
    return Counter(status for status, _ in rows)


async def all_confirmed(platform: Platform, order_ids: Sequence[str]) -> bool:
    return await statuses(platform, order_ids) == {OrderStatus.CONFIRMED.value: len(order_ids)}


async def parked_keys(platform: Platform) -> Counter[str]:
    """The orders of the replies that are parked, and how often."""
    rows = await platform.query("select order_id::text, reason_code from order_service.parked_messages")
    assert {code for _, code in rows} <= {"UNKNOWN_ORDER"}
    return Counter(order_id for order_id, _ in rows)


async def test_replies_before_during_and_after_have_their_effect_once(platform: Platform, user: str) -> None:
    await old_queue(platform)
    api, _ = await platform.start_both(**NO_DEADLINE)
    strangers = [str(uuid4()) for _ in range(20)]
    async with gateway(api) as stub, StockService.running(platform, no_answer), platform.broker() as channel:
        orders = await place(stub, user, 300)
        await send_to_old_only(channel, [*orders[:80], *strangers[:10]])
        await send(channel, [*orders[60:160], *strangers[10:]])

        cutting = await started(platform.environment(), *CUT_OVER)
        await send(channel, orders[160:240])
        done = await ended(cutting)
        await send(channel, orders[240:])
        await eventually(lambda: all_confirmed(platform, orders))

        assert done.code == 0, done.errors
        assert (done.json["complete"], done.json["unbound"], done.json["left"]) == (True, True, 0)
        assert done.json["handled"] >= 80 + 10 + 100 + 10
        found = await channel.declare_queue(OLD.queue, passive=True)
        assert found.declaration_result.message_count == 0
        assert await parked_keys(platform) == Counter(strangers)


async def test_the_old_queue_gets_nothing_once_it_is_cut_over_and_is_deleted_only_if_asked_to(
    platform: Platform, user: str
) -> None:
    await old_queue(platform)
    await platform.start_worker()
    stranger = str(uuid4())

    kept = await succeed(platform.environment(), *CUT_OVER)
    async with platform.broker() as channel:
        await send(channel, [stranger])
    await eventually(lambda: parked_keys(platform))
    still_there = platform.management.queue(OLD.queue)
    gone = await succeed(platform.environment(), *CUT_OVER, "--delete")

    assert (kept.json["handled"], kept.json["unbound"], kept.json["deleted"]) == (0, True, False)
    assert still_there is not None
    assert (gone.json["existed"], gone.json["handled"], gone.json["deleted"]) == (True, 0, True)
    assert platform.management.queue(OLD.queue) is None


async def test_without_an_old_queue_there_is_nothing_to_do(platform: Platform) -> None:
    machine = await succeed(platform.environment(), *CUT_OVER)
    person = await succeed(platform.environment(), "cut-over")

    assert (machine.json["complete"], machine.json["existed"]) == (True, False)
    assert person.output == f"there is no queue {OLD.queue}: nothing to do\n"


async def test_it_refuses_to_begin_before_our_own_queue_is_there(platform: Platform) -> None:
    await old_queue(platform)
    async with platform.broker() as channel:
        await send_to_old_only(channel, [str(uuid4())])

    refused = await run(platform.environment(), *CUT_OVER)

    assert (refused.code, refused.json["unbound"], refused.json["handled"]) == (1, False, 0)
    assert refused.errors == (
        f"order-service: our own queue {OWN!r} is not there, so replies would be lost: start a worker first\n"
    )


async def test_it_refuses_to_begin_while_no_worker_runs_unless_forced(platform: Platform) -> None:
    await old_queue(platform)
    worker = await platform.start_worker()
    worker.stop()

    refused = await run(platform.environment(), *CUT_OVER)
    forced = await run(platform.environment(), *CUT_OVER, "--force")

    assert (refused.code, refused.json["unbound"]) == (1, False)
    assert "no worker consumes" in refused.errors
    assert (forced.code, forced.json["unbound"]) == (0, True)


async def test_it_refuses_to_begin_while_the_old_service_consumes_unless_forced(platform: Platform) -> None:
    await old_queue(platform)
    await platform.start_worker()
    async with platform.broker() as channel:
        taken: list[Any] = []
        queue = await channel.get_queue(OLD.queue)
        await queue.consume(taken.append)  # type: ignore[arg-type]

        refused = await run(platform.environment(), *CUT_OVER)
        bound = is_bound(platform)
        forced = await run(platform.environment(), *CUT_OVER, "--force")

    assert (refused.code, refused.json["unbound"], refused.json["handled"]) == (1, False, 0)
    assert "stop the old service first" in refused.errors
    assert bound
    assert (forced.code, forced.json["unbound"]) == (0, True)


async def test_a_queue_that_someone_else_fills_is_told_and_not_deleted(platform: Platform) -> None:
    await old_queue(platform)
    await platform.start_worker()
    async with platform.broker() as channel:
        filling = asyncio.Event()
        filler = asyncio.create_task(_fill(channel, filling))

        told = await run(platform.environment(CONSUMER_PREFETCH="10"), *CUT_OVER, "--delete")
        filling.set()
        await filler

    assert (told.code, told.json["unbound"], told.json["deleted"]) == (1, True, False)
    assert "run it again" in told.errors


async def test_a_binding_under_another_key_is_told_where_it_can_be_seen(platform: Platform, servers: Servers) -> None:
    async with platform.broker() as channel:
        await bound_queue(channel, dataclasses.replace(OLD, routing_key="stock"))
    await platform.start_worker()

    told = await run(platform.environment(RABBITMQ_MANAGEMENT_URL=servers.management_url), *CUT_OVER, "--delete")

    assert (told.code, told.json["complete"], told.json["deleted"]) == (1, False, False)
    assert "still bound to 'stock_update_exchange', with the routing key 'stock'" in told.errors


@pytest.mark.parametrize("variable", ["DATABASE_URL", "RABBITMQ_URL"])
async def test_a_server_that_is_away_is_exit_code_3_and_nothing_is_lost(platform: Platform, variable: str) -> None:
    await old_queue(platform)
    await platform.start_worker()
    async with TcpProxy.to(platform.environment()[variable]) as (proxy, url):
        await proxy.cut()

        away = await run(platform.environment(**{variable: url}), "cut-over")

    assert (away.code, away.output) == (3, "")
    assert away.errors.endswith("; nothing is lost: run it again\n")
    assert away.errors.count("\n") == 1


async def _fill(channel: AbstractChannel, enough: asyncio.Event) -> None:
    stranger = str(uuid4())
    while not enough.is_set():
        await send_to_old_only(channel, [stranger])
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("table", ["inbox", "parked_messages"])
async def test_a_run_that_is_killed_is_run_again_and_loses_nothing(platform: Platform, user: str, table: str) -> None:
    await old_queue(platform)
    api, _ = await platform.start_both(**NO_DEADLINE)
    strangers = [str(uuid4()) for _ in range(10)]
    async with gateway(api) as stub, StockService.running(platform, no_answer), platform.broker() as channel:
        orders = await place(stub, user, 200)
        await send_to_old_only(channel, [*strangers, *orders])
        async with held_back(platform, table) as waiting:
            cutting = await started(platform.environment(CONSUMER_PREFETCH="50"), *CUT_OVER)
            await eventually(lambda: waiting(1))
            cutting.kill()
            await cutting.wait()

        again = await run(platform.environment(), *CUT_OVER)

        assert again.code == 0, again.errors
        assert await all_confirmed(platform, orders)
        assert await parked_keys(platform) == Counter(strangers)


async def test_a_run_killed_at_any_instant_is_run_again_and_loses_nothing(platform: Platform, user: str) -> None:
    await old_queue(platform)
    api, _ = await platform.start_both(**NO_DEADLINE)
    async with gateway(api) as stub, StockService.running(platform, no_answer), platform.broker() as channel:
        orders = await place(stub, user, 400)
        await send_to_old_only(channel, orders)
        for confirmed in (1, 100, 200, 300):
            cutting = await started(platform.environment(CONSUMER_PREFETCH="20"), *CUT_OVER)
            await eventually(functools.partial(_confirmed, platform, orders, confirmed))
            cutting.kill()
            await cutting.wait()
            await cutting.communicate()
        cutting = await started(platform.environment(), *CUT_OVER)
        await eventually(lambda: not is_bound(platform))
        cutting.kill()
        await cutting.communicate()

        again = await run(platform.environment(), *CUT_OVER, "--delete")

        assert again.code == 0, again.errors
        assert await all_confirmed(platform, orders)
        assert again.json["deleted"]


async def _confirmed(platform: Platform, orders: Sequence[str], least: int) -> bool:
    return (await statuses(platform, orders))[OrderStatus.CONFIRMED.value] >= least
