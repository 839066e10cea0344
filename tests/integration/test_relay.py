"""The relay: what nobody takes, and a broker or a database that goes away in the middle."""

import asyncio
from datetime import timedelta

import pytest

from order_service.pb import order_pb2
from order_service.storage.database import Database
from order_service.use_cases.handle_parked_messages import redrive_parked
from tests.integration.calls import an_order
from tests.integration.held_back import held_back
from tests.integration.load import Load
from tests.integration.peers import Recorder, StockService, success
from tests.integration.platform import Platform, Running, gateway
from tests.integration.tcp_proxy import TcpProxy
from tests.waiting import eventually

STOCK_QUEUE = "order_service.stock_update_results"
WINDOW = 20


async def test_a_request_that_nobody_takes_goes_out_once_when_somebody_listens(platform: Platform) -> None:
    api, worker = await platform.start_both()

    async with gateway(api) as stub:
        order_id = (await stub.CreateOrder(an_order())).order.id
        await eventually(lambda: sent(worker, "order.created", "returned") >= 2)
        async with Recorder.running(platform) as recorder:
            await eventually(lambda: recorder.messages)
            await eventually(lambda: nothing_waits(platform))

    assert recorder.types_of(order_id) == ["order.created"]
    assert sent(worker, "order.created", "confirmed") == 1


async def test_what_nobody_takes_holds_back_its_own_order_only(platform: Platform) -> None:
    api, worker = await platform.start_both()

    async with gateway(api) as stub:
        unheard = (await stub.CreateOrder(an_order())).order.id
        await stub.CancelOrder(order_pb2.CancelOrderRequest(order_id=unheard, user_id="ada"))
        await eventually(lambda: platform.query("select 1 from order_service.outbox where attempts > 0"))
        # Not while a worker runs: one that is just trying the event again would set its time once more.
        worker.stop()
        await platform.query("update order_service.outbox set due_at = now() + interval '1 hour' where version = 1")
        await platform.start_worker()
        async with Recorder.running(platform) as recorder:
            heard = (await stub.CreateOrder(an_order())).order.id
            await eventually(lambda: recorder.types_of(heard))
            await eventually(lambda: is_marked(platform, heard))
            waiting = await platform.query("select version from order_service.outbox order by version")

    assert waiting == [(1,), (2,)]
    assert recorder.types_of(unheard) == []


async def test_a_fact_without_a_listener_is_done(platform: Platform) -> None:
    api, worker = await platform.start_both()

    async with StockService.running(platform, success), gateway(api) as stub:
        order_id = (await stub.CreateOrder(an_order())).order.id
        await eventually(lambda: sent(worker, "order.confirmed", "returned"))
        await eventually(lambda: nothing_waits(platform))
        request = order_pb2.ListOrderEventsRequest(order_id=order_id, user_id="ada")
        events = (await stub.ListOrderEvents(request)).events

    assert [(event.type, event.HasField("confirmed_at")) for event in events] == [
        ("order.created", True),
        ("order.confirmed", True),
    ]
    assert sent(worker, "order.confirmed", "returned") == 1


async def test_a_parked_event_holds_back_its_order_until_it_is_redriven(platform: Platform) -> None:
    api, worker = await platform.start_both(RELAY_PARK_AFTER="1s")

    async with gateway(api) as stub:
        order_id = (await stub.CreateOrder(an_order())).order.id
        parked_id = await eventually(lambda: parked(platform))
        await stub.CancelOrder(order_pb2.CancelOrderRequest(order_id=order_id, user_id="ada"))
        async with Recorder.running(platform) as recorder:
            other = (await stub.CreateOrder(an_order())).order.id
            await eventually(lambda: recorder.types_of(other))
            held_back = recorder.types_of(order_id)
            await redrive(platform, parked_id)
            await eventually(lambda: nothing_waits(platform))
            await eventually(lambda: len(recorder.types_of(order_id)) == 2)

    assert held_back == []
    assert recorder.types_of(order_id) == ["order.created", "order.cancelled"]
    assert worker.metric("order_service_parked_total", direction="OUT", reason_code="NOT_TAKEN") == 1
    assert await parked(platform) is None


@pytest.mark.parametrize(("how", "cuts"), [("by the broker", 1), ("on the way", 3)])
async def test_connections_that_are_cut_lose_nothing_and_keep_the_order(
    platform: Platform, how: str, cuts: int
) -> None:
    async with TcpProxy.to(platform.rabbitmq_url) as (proxy, url):
        api, _ = await platform.start_both(RABBITMQ_URL=url, RELAY_WINDOW=str(WINDOW))
        # It takes RabbitMQ some seconds to list them.
        known = await eventually(lambda: connections_of(platform) if how == "by the broker" else [""])
        async with (
            StockService.running(platform, success),
            Recorder.running(platform) as recorder,
            gateway(api) as stub,
        ):
            load = Load(stub, "ada")
            async with load.placing():
                for cut in range(1, cuts + 1):
                    await eventually(lambda cut=cut: len(recorder.messages) >= 150 * cut)  # type: ignore[misc]
                    await (proxy.cut_and_restore() if how == "on the way" else close_all(platform, known))
                    await eventually(lambda cut=cut: proxy.accepted >= 3 + 3 * cut)  # type: ignore[misc]
            await eventually(lambda: len(recorder.sent().histories()) == len(load.acknowledged))
            await eventually(lambda: recorder.sent().are_settled())

    events = recorder.sent()
    events.assert_in_version_order()
    assert events.histories().keys() == set(load.acknowledged.values())
    assert events.outcomes() == {"order.confirmed": len(load.acknowledged)}
    # Only what was in flight at the moment of a cut can come twice.
    assert events.repeats <= WINDOW * cuts


async def test_a_queue_that_an_operator_deletes_is_declared_again(platform: Platform) -> None:
    api, _ = await platform.start_both()

    async with (
        StockService.running(platform, success),
        Recorder.running(platform) as recorder,
        gateway(api) as stub,
    ):
        before = (await stub.CreateOrder(an_order())).order.id
        await eventually(lambda: len(recorder.types_of(before)) == 2)
        platform.management.delete_queue(STOCK_QUEUE)
        await eventually(lambda: is_bound(platform, STOCK_QUEUE))
        after = (await stub.CreateOrder(an_order())).order.id
        await eventually(lambda: len(recorder.types_of(after)) == 2)

    assert recorder.types_of(after) == ["order.created", "order.confirmed"]


async def test_what_was_published_is_not_published_again_while_it_cannot_be_marked(platform: Platform) -> None:
    async with TcpProxy.to(platform.database_url) as (proxy, url):
        api = await platform.start_api()
        worker = await platform.start_worker(DATABASE_URL=url, DATABASE_TIMEOUT="1s")
        async with Recorder.running(platform) as recorder, gateway(api) as stub:
            async with held_back(platform, "event_confirmations") as waiting:
                created = [(await stub.CreateOrder(an_order())).order.id for _ in range(20)]
                await eventually(lambda: waiting(1))
                await proxy.cut()
                await eventually(lambda: worker.log_lines("relay.not_marked"))
            await proxy.restore()
            await eventually(lambda: nothing_waits(platform))

    events = recorder.sent()
    assert events.histories().keys() == set(created)
    assert events.repeats == 0


async def test_a_database_that_goes_away_under_load_makes_no_repeats(platform: Platform) -> None:
    async with TcpProxy.to(platform.database_url) as (proxy, url):
        api = await platform.start_api()
        worker = await platform.start_worker(DATABASE_URL=url, DATABASE_TIMEOUT="1s")
        async with (
            StockService.running(platform, success),
            Recorder.running(platform) as recorder,
            gateway(api) as stub,
        ):
            load = Load(stub, "ada")
            async with load.placing():
                for cut in (1, 2, 3):
                    await eventually(lambda cut=cut: len(recorder.messages) >= 150 * cut)  # type: ignore[misc]
                    await proxy.cut_and_restore()
            await eventually(lambda: len(recorder.sent().histories()) == len(load.acknowledged))
            await eventually(lambda: recorder.sent().are_settled())

    events = recorder.sent()
    events.assert_in_version_order()
    assert events.outcomes() == {"order.confirmed": len(load.acknowledged)}
    assert events.repeats == 0
    assert worker.process.poll() is None


def sent(worker: Running, event_type: str, result: str) -> float:
    """How often the relay has seen this become of events of a type."""
    return worker.metric("order_service_relay_messages_total", type=event_type, result=result)


async def nothing_waits(platform: Platform) -> bool:
    """Whether the outbox is empty."""
    return not await platform.query("select 1 from order_service.outbox limit 1")


async def is_marked(platform: Platform, order_id: str) -> bool:
    """Whether nothing of an order waits: a listener may have an event before the relay has marked it."""
    return not await platform.query("select 1 from order_service.outbox where order_id = %s", order_id)


def is_bound(platform: Platform, queue: str) -> bool:
    """Whether a queue is there and gets what is sent to an exchange other than the default one."""
    if platform.management.queue(queue) is None:
        return False
    bindings = platform.management.call("GET", f"queues/{platform.management.name}/{queue}/bindings")
    return any(binding["source"] for binding in bindings)


def connections_of(platform: Platform) -> list[str]:
    """The service's connections, once RabbitMQ knows all three."""
    found = platform.management.connections("order-service ")
    return found if len(found) == 3 else []


async def close_all(platform: Platform, names: list[str]) -> None:
    """Lets the broker close connections."""
    await asyncio.to_thread(platform.management.close_connections, names)


async def parked(platform: Platform) -> int | None:
    """The id of a parked event, if there is one."""
    rows = await platform.query("select parked_id from order_service.parked_messages where direction = 'OUT'")
    return rows[0][0] if rows else None


async def redrive(platform: Platform, parked_id: int) -> None:
    """What an operator does."""
    database = Database(platform.database_url, 1, timedelta(seconds=30), "test")
    await database.open()
    await database.run(lambda work: redrive_parked(work, parked_id))
    await database.close()
