"""How soon an outage is noticed, and how soon work goes on after it: each within the time that is promised."""

import asyncio
from typing import Any

import grpc

from order_service.storage.relay_leases import HOLD_SECONDS
from tests.integration.calls import an_order, failure_of
from tests.integration.peers import Recorder, StockService, success
from tests.integration.platform import Platform, Running, gateway, http_get
from tests.integration.stopwatch import Stopwatch
from tests.integration.storage_fixtures import session
from tests.integration.tcp_proxy import TcpProxy
from tests.waiting import eventually

TAKEN_OVER_SECONDS = 2.0
FLOWS_AGAIN_SECONDS = 10.0
NOTICED_SECONDS = 15.0
OUTAGE_SECONDS = 8.0
"""Long enough for whoever waits longer after each failure to wait as long as it ever does."""

BUCKETS = 64


async def test_all_that_a_killed_relay_held_is_taken_over_within_two_seconds(platform: Platform) -> None:
    first = await platform.start_worker()
    second = await platform.start_worker()
    await eventually(lambda: [leased(worker) for worker in (first, second)] == [BUCKETS / 2] * 2)

    with Stopwatch.running() as watch:
        seconds = await seconds_until_held_by_one(platform, first) - watch.lost()

    assert seconds < TAKEN_OVER_SECONDS
    await eventually(lambda: leased(second) == BUCKETS)


async def test_orders_flow_within_ten_seconds_after_postgresql_is_back(platform: Platform) -> None:
    async with TcpProxy.to(platform.database_url) as (proxy, url):
        api, worker = await platform.start_both(DATABASE_URL=url)
        async with (
            StockService.running(platform, success),
            Recorder.running(platform) as recorder,
            gateway(api) as stub,
        ):
            await proxy.cut()
            await lasts(OUTAGE_SECONDS, api, worker)
            with Stopwatch.running() as watch:
                await proxy.restore()
                order_id = await placed(stub)
                await eventually(lambda: recorder.types_of(order_id) == ["order.created", "order.confirmed"])
                seconds = watch.seconds()
            end(api, worker)

    assert seconds < FLOWS_AGAIN_SECONDS


async def test_orders_flow_within_ten_seconds_after_the_broker_is_back(platform: Platform) -> None:
    async with TcpProxy.to(platform.rabbitmq_url) as (proxy, url):
        api, worker = await platform.start_both(RABBITMQ_URL=url)
        async with (
            StockService.running(platform, success),
            Recorder.running(platform) as recorder,
            gateway(api) as stub,
        ):
            await proxy.cut()
            order_id = (await stub.CreateOrder(an_order())).order.id
            await lasts(OUTAGE_SECONDS, worker)
            with Stopwatch.running() as watch:
                await proxy.restore()
                await eventually(lambda: recorder.types_of(order_id) == ["order.created", "order.confirmed"])
                seconds = watch.seconds()
            end(api, worker)

    assert seconds < FLOWS_AGAIN_SECONDS


async def test_connections_to_postgresql_that_keep_silent_are_noticed_within_fifteen_seconds(
    platform: Platform,
) -> None:
    async with TcpProxy.to(platform.database_url) as (proxy, url):
        api, worker = await platform.start_both(DATABASE_URL=url)
        async with gateway(api) as stub:
            await stub.CreateOrder(an_order())
            with Stopwatch.running() as watch:
                proxy.freeze()
                call = asyncio.ensure_future(failure_of(stub.CreateOrder(an_order())))
                noticed = await asyncio.gather(
                    seconds_until_unready(api, "postgresql", watch),
                    seconds_until_unready(worker, "postgresql", watch),
                )
                failure = await call
                answered = watch.seconds()
            end(api, worker)

    assert max(noticed) < NOTICED_SECONDS
    assert answered < NOTICED_SECONDS
    assert failure.code is grpc.StatusCode.UNAVAILABLE


async def test_connections_to_rabbitmq_that_keep_silent_are_noticed_within_fifteen_seconds(
    platform: Platform,
) -> None:
    async with TcpProxy.to(platform.rabbitmq_url) as (proxy, url):
        worker = await platform.start_worker(RABBITMQ_URL=url)

        with Stopwatch.running() as watch:
            proxy.freeze()
            publishing, consuming = await asyncio.gather(
                seconds_until_unready(worker, "rabbitmq (relay)", watch),
                seconds_until_unready(worker, "rabbitmq (stock consumer)", watch),
            )

    assert publishing < NOTICED_SECONDS
    assert consuming < NOTICED_SECONDS


async def test_a_publish_that_is_under_way_when_the_broker_falls_silent_is_given_up_within_fifteen_seconds(
    platform: Platform,
) -> None:
    async with TcpProxy.to(platform.rabbitmq_url) as (proxy, url):
        api, worker = await platform.start_both(RABBITMQ_URL=url)
        async with Recorder.running(platform) as recorder, gateway(api) as stub:
            with Stopwatch.running() as watch:
                proxy.freeze()
                order_id = (await stub.CreateOrder(an_order())).order.id
                await eventually(lambda: worker.metric("order_service_relay_messages_total", result="published"))
                noticed = await seconds_until_unready(worker, "rabbitmq (relay)", watch)
            proxy.thaw()
            await eventually(lambda: order_id in recorder.sent().histories())

    assert noticed < NOTICED_SECONDS


def end(*processes: Running) -> None:
    """Spares the end of the test the wait for processes that are cut off once more."""
    for process in processes:
        process.kill()


def leased(worker: Running) -> float:
    """How many buckets a worker believes to be its own."""
    return worker.metric("order_service_relay_leased_buckets")


async def seconds_until_held_by_one(platform: Platform, dies: Running) -> float:
    """How long after a relay is killed the other one took the last lease, both by PostgreSQL's clock."""
    async with session(platform.database_url) as asking:

        async def taken_at() -> float | None:
            cursor = await asking.execute(
                "select extract(epoch from max(expires_at))::float - %s from order_service.relay_leases"
                " having count(distinct owner) = 1 and count(owner) = %s",
                (HOLD_SECONDS, BUCKETS),
            )
            row = await cursor.fetchone()
            return row[0] if row else None

        ((killed_at,),) = await (await asking.execute("select extract(epoch from clock_timestamp())::float")).fetchall()
        dies.kill()
        return await eventually(taken_at) - float(killed_at)


async def lasts(seconds: float, *processes: Running) -> None:
    """Returns when that long is over and each process has noticed; none has ended."""

    def have_noticed() -> bool:
        return all(http_get(process.ports["metrics"], "/readyz")[0] == 503 for process in processes)

    with Stopwatch.running() as watch:
        await eventually(lambda: watch.seconds() > seconds and have_noticed())
    assert [process.process.poll() for process in processes] == [None] * len(processes)


async def seconds_until_unready(process: Running, part: str, watch: Stopwatch) -> float:
    """How long it takes until the process says that it is cut off from something."""

    async def told() -> bool:
        status, text = await asyncio.to_thread(http_get, process.ports["metrics"], "/readyz")
        return status == 503 and part in text

    await eventually(told)
    return watch.seconds()


async def placed(stub: Any) -> str:
    """The id of an order, asked for again until it is stored."""

    async def order_id() -> str:
        try:
            return str((await stub.CreateOrder(an_order())).order.id)
        except grpc.aio.AioRpcError:
            return ""

    return await eventually(order_id)
