"""How soon an outage is noticed, and how soon work goes on after it: each within the time that is promised."""

import asyncio
import time
from typing import Any

import grpc

from tests.integration.calls import an_order, failure_of
from tests.integration.peers import Recorder, StockService, success
from tests.integration.platform import Platform, Running, gateway, http_get
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

    first.kill()
    seconds = await seconds_until_held_by_one(platform)

    assert seconds < TAKEN_OVER_SECONDS
    assert leased(second) == BUCKETS


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
            await proxy.restore()
            back_at = time.monotonic()
            order_id = await placed(stub)
            await eventually(lambda: recorder.types_of(order_id) == ["order.created", "order.confirmed"])
            seconds = time.monotonic() - back_at
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
            await proxy.restore()
            back_at = time.monotonic()
            await eventually(lambda: recorder.types_of(order_id) == ["order.created", "order.confirmed"])
            seconds = time.monotonic() - back_at
            end(api, worker)

    assert seconds < FLOWS_AGAIN_SECONDS


async def test_connections_to_postgresql_that_keep_silent_are_noticed_within_fifteen_seconds(
    platform: Platform,
) -> None:
    async with TcpProxy.to(platform.database_url) as (proxy, url):
        api, worker = await platform.start_both(DATABASE_URL=url)
        async with gateway(api) as stub:
            await stub.CreateOrder(an_order())
            proxy.freeze()
            frozen_at = time.monotonic()
            call = asyncio.ensure_future(failure_of(stub.CreateOrder(an_order())))
            noticed = await asyncio.gather(
                seconds_until_unready(api, "postgresql", frozen_at),
                seconds_until_unready(worker, "postgresql", frozen_at),
            )
            failure = await call
            answered = time.monotonic() - frozen_at
            end(api, worker)

    assert max(noticed) < NOTICED_SECONDS
    assert answered < NOTICED_SECONDS
    assert failure.code is grpc.StatusCode.UNAVAILABLE


async def test_connections_to_rabbitmq_that_keep_silent_are_noticed_within_fifteen_seconds(
    platform: Platform,
) -> None:
    async with TcpProxy.to(platform.rabbitmq_url) as (proxy, url):
        worker = await platform.start_worker(RABBITMQ_URL=url)
        proxy.freeze()
        frozen_at = time.monotonic()

        publishing, consuming = await asyncio.gather(
            seconds_until_unready(worker, "rabbitmq (relay)", frozen_at),
            seconds_until_unready(worker, "rabbitmq (stock consumer)", frozen_at),
        )

    assert publishing < NOTICED_SECONDS
    assert consuming < NOTICED_SECONDS


async def test_a_publish_that_is_under_way_when_the_broker_falls_silent_is_given_up_within_fifteen_seconds(
    platform: Platform,
) -> None:
    async with TcpProxy.to(platform.rabbitmq_url) as (proxy, url):
        api, worker = await platform.start_both(RABBITMQ_URL=url)
        async with Recorder.running(platform) as recorder, gateway(api) as stub:
            proxy.freeze()
            frozen_at = time.monotonic()
            order_id = (await stub.CreateOrder(an_order())).order.id
            await eventually(lambda: worker.metric("order_service_relay_messages_total", result="published"))
            noticed = await seconds_until_unready(worker, "rabbitmq (relay)", frozen_at)
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


async def seconds_until_held_by_one(platform: Platform) -> float:
    """How long it takes until one relay holds everything, by leases that have not run out."""

    async def held_by_one() -> bool:
        held = await platform.query(
            "select count(*) from order_service.relay_leases where expires_at > now() group by owner"
        )
        return held == [(BUCKETS,)]

    began = time.monotonic()
    await eventually(held_by_one)
    return time.monotonic() - began


async def lasts(seconds: float, *processes: Running) -> None:
    """Returns when that long is over; each process has noticed by then, and none has ended."""
    began = time.monotonic()
    await eventually(lambda: time.monotonic() - began > seconds)
    for process in processes:
        assert http_get(process.ports["metrics"], "/readyz")[0] == 503
        assert process.process.poll() is None


async def seconds_until_unready(process: Running, part: str, since: float) -> float:
    """How long after `since` the process says that it is cut off from something."""

    async def told() -> bool:
        status, text = await asyncio.to_thread(http_get, process.ports["metrics"], "/readyz")
        return status == 503 and part in text

    await eventually(told, 30)
    return time.monotonic() - since


async def placed(stub: Any) -> str:
    """The id of an order, asked for again until it is stored."""

    async def order_id() -> str:
        try:
            return str((await stub.CreateOrder(an_order())).order.id)
        except grpc.aio.AioRpcError:
            return ""

    return await eventually(order_id)
