"""Two batches of replies under way at a time, and acknowledged in the order in which they were taken."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from order_service.storage.database import Database
from tests.integration.consuming_fixtures import (
    all_delivered,
    all_handled,
    confirmed,
    consumer,
    counted,
    given_back,
    left_by,
    locked,
    noted,
    orders_with,
    replies,
    reply,
    succeed,
    waiting,
)
from tests.integration.peers import StockService, no_answer
from tests.integration.platform import Platform
from tests.integration.seeds import seeded
from tests.integration.storage_fixtures import created, opened
from tests.integration.tcp_proxy import TcpProxy
from tests.waiting import eventually


@pytest.fixture
async def database(platform: Platform) -> AsyncIterator[Database]:
    async with opened(platform.database_url) as database:
        yield database


@pytest.fixture
async def stock(platform: Platform) -> AsyncIterator[StockService]:
    async with StockService.running(platform, no_answer) as stock:
        yield stock


async def test_what_is_committed_is_not_acknowledged_before_what_was_taken_earlier(
    platform: Platform, database: Database, stock: StockService
) -> None:
    first, second = await created(database, 2)
    worker = await consumer(platform, 1)

    async with locked(platform, first):
        await succeed(stock, first)
        await waiting(platform, 1)
        await succeed(stock, second)
        await confirmed(platform, second)
        await counted(worker, "applied", 1)
        worker.kill()
        come_again = await given_back(platform)
    other = await consumer(platform, 1)
    await confirmed(platform, first)
    await counted(other, "duplicate", 1)
    left = await left_by(other, platform)

    assert come_again == 2
    assert left == 0


async def test_both_are_acknowledged_as_soon_as_the_earlier_one_is_committed(
    platform: Platform, database: Database, stock: StockService
) -> None:
    first, second, third = await created(database, 3)
    worker = await consumer(platform, 1)

    async with locked(platform, first):
        await succeed(stock, first)
        await waiting(platform, 1)
        await succeed(stock, second)
        await confirmed(platform, second)
    # It is taken only when one of the others is acknowledged.
    await succeed(stock, third)
    await confirmed(platform, first, third)
    left = await left_by(worker, platform)

    assert left == 0
    assert worker.log_lines("consumer.unavailable") == []


async def test_a_worker_that_stops_ends_both_and_takes_no_other(
    platform: Platform, database: Database, stock: StockService
) -> None:
    *both, third = await created(database, 3)
    worker = await consumer(platform, 1)

    async with locked(platform, *both):
        await asyncio.gather(*[succeed(stock, order_id) for order_id in both])
        await waiting(platform, 2)
        await succeed(stock, third)
        await all_delivered(platform)
        exiting = asyncio.ensure_future(asyncio.to_thread(worker.stop))
        await eventually(lambda: worker.log_lines("process.stopping"))
    code = await exiting

    assert code == 0
    assert worker.log_lines("process.grace_over") == []
    assert await orders_with(platform, "CONFIRMED") == set(both)
    assert await given_back(platform) == 1


async def test_a_worker_whose_grace_ends_before_the_earlier_one_acknowledges_neither(
    platform: Platform, database: Database, stock: StockService
) -> None:
    first, second = await created(database, 2)
    worker = await consumer(platform, 1, SHUTDOWN_GRACE="1s")

    async with locked(platform, first):
        await succeed(stock, first)
        await waiting(platform, 1)
        await succeed(stock, second)
        await confirmed(platform, second)
        code = await asyncio.to_thread(worker.stop)
        come_again = await given_back(platform)

    assert code == 0
    assert len(worker.log_lines("process.grace_over")) == 1
    assert come_again == 2


async def test_a_worker_that_stops_while_the_earlier_one_is_tried_again_acknowledges_neither(
    platform: Platform, database: Database, stock: StockService
) -> None:
    first, second = await created(database, 2)
    worker = await consumer(platform, 1, DATABASE_TIMEOUT="500ms")

    async with locked(platform, first):
        await succeed(stock, first)
        await eventually(lambda: worker.log_lines("consumer.storage_unavailable"))
        await succeed(stock, second)
        await confirmed(platform, second)
        code = await asyncio.to_thread(worker.stop)
        come_again = await given_back(platform)

    assert code == 0
    assert worker.log_lines("process.grace_over") == []
    assert come_again == 2


async def test_after_the_broker_was_lost_both_come_again_and_change_nothing(
    platform: Platform, database: Database, stock: StockService
) -> None:
    first, second = await created(database, 2)

    async with TcpProxy.to(platform.rabbitmq_url) as (proxy, url):
        worker = await consumer(platform, 1, RABBITMQ_URL=url)
        async with locked(platform, first):
            await succeed(stock, first)
            await waiting(platform, 1)
            await succeed(stock, second)
            await confirmed(platform, second)
            await proxy.cut()
            come_again = await given_back(platform)
            await proxy.restore()
        await confirmed(platform, first)
        await counted(worker, "duplicate", 2)
        left = await left_by(worker, platform)

    assert (come_again, left) == (2, 0)
    assert len(await platform.query("select 1 from order_service.inbox")) == 2


async def test_an_error_in_the_later_one_ends_the_worker_while_the_earlier_one_still_waits(
    platform: Platform, database: Database, stock: StockService
) -> None:
    (first,) = await created(database, 1)
    worker = await consumer(platform, 1)
    await platform.query("alter table order_service.parked_messages rename to gone")

    async with locked(platform, first):
        await succeed(stock, first)
        await waiting(platform, 1)
        await stock.send(b"no reply")
        code = await asyncio.to_thread(worker.process.wait, 60)
        come_again = await given_back(platform)

    (failed,) = worker.log_lines("process.failed")
    assert code == 1
    assert failed["error"].startswith("consumer stock ended: ")
    assert come_again == 2
    assert "never retrieved" not in worker.log.read_text()


async def test_a_batch_that_is_not_full_waits_and_grows_while_another_is_under_way(
    platform: Platform, database: Database, stock: StockService
) -> None:
    first, *others = await created(database, 6)
    worker = await consumer(platform, 10)

    async with locked(platform, first):
        await succeed(stock, first)
        await waiting(platform, 1)
        for order_id in others:
            await succeed(stock, order_id)
        await all_delivered(platform)
    await confirmed(platform, first, *others)
    transactions = await platform.query("select count(*) from order_service.inbox group by xmin::text order by 1")
    left = await left_by(worker, platform)

    assert transactions == [(1,), (5,)]
    assert left == 0


@pytest.mark.parametrize("alike", [True, False], ids=["the same replies", "other replies"])
async def test_batches_with_replies_to_the_same_orders_never_wait_for_each_other_in_a_circle(
    platform: Platform, database: Database, stock: StockService, alike: bool
) -> None:
    """In each round a full batch stops halfway through its locks, and another one comes that takes them as well."""
    first, *order_ids = await created(database, 31)
    worker = await consumer(platform, len(order_ids))
    handled = 0

    with seeded() as chance:
        for number in range(5):
            held = chance.choice(order_ids)
            async with noted(platform, reply(held, of=[number, 0])) if alike else locked(platform, held):
                async with locked(platform, first):
                    # Nothing else is taken before there is a full batch of it.
                    await stock.send(reply(first, of=number))
                    await waiting(platform, 1)
                    for part in range(3):
                        bodies = [reply(order_id, of=[number, 0 if alike else part]) for order_id in order_ids]
                        await asyncio.gather(*[stock.send(body) for body in chance.sample(bodies, len(bodies))])
                    await waiting(platform, 2)
                await eventually(lambda: all_handled(worker) == handled + 1)  # noqa: B023
                await waiting(platform, 2)
            handled += 1 + 3 * len(order_ids)
            await eventually(lambda: all_handled(worker) == handled)  # noqa: B023
    applied = replies(worker, "applied")
    left = await left_by(worker, platform)

    assert await orders_with(platform, "CONFIRMED") == {first, *order_ids}
    assert (applied, left) == (31, 0)
    assert await platform.query("select deadlocks from pg_stat_database where datname = current_database()") == [(0,)]
