"""What a relay fetches from the outbox: of each order its earliest event, in turns, and not over what is gone."""

from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg
import pytest
from uuid_utils.compat import uuid7

from order_service.outbox.leases import Leases
from order_service.outbox.scan import Scan
from order_service.storage.database import Database
from order_service.storage.events import BUCKETS, FETCHED_BYTES
from order_service.storage.outbox import DueEvent, Failure
from order_service.storage.unit_of_work import UnitOfWork
from tests.integration.platform import Platform
from tests.integration.relay_fixtures import (
    ALL_BUCKETS,
    BEGINNING,
    append,
    fetch,
    mark_sent,
    never_run_out,
    three_relays,
)
from tests.integration.storage_fixtures import in_bucket, opened, session


@pytest.fixture
async def database(platform: Platform) -> AsyncIterator[Database]:
    async with opened(platform.database_url, seconds=30) as database:
        yield database


@pytest.fixture
async def relays(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[Leases]]:
    """Three relays' leases, each on connections of its own."""
    never_run_out(monkeypatch)
    async with three_relays(platform) as relays:
        yield relays


async def test_only_the_first_unsent_event_of_each_order_is_fetched(database: Database, relays: list[Leases]) -> None:
    await relays[0].run_once()
    fence = relays[0].fence()
    order_ids = {uuid7() for _ in range(50)}
    await append(database, *order_ids, versions=3)
    rounds: list[list[DueEvent]] = []

    while window := await fetch(database):
        rounds.append(window)
        await mark_sent(database, window, fence)

    assert [{due.event.version for due in window} for window in rounds] == [{1}, {2}, {3}]
    assert [len(window) for window in rounds] == [50, 50, 50]
    assert all({due.event.order_id for due in window} == order_ids for window in rounds)


async def test_an_event_that_is_held_back_holds_back_the_later_ones_of_its_order_and_no_other(
    platform: Platform, database: Database, relays: list[Leases]
) -> None:
    await relays[0].run_once()
    fence = relays[0].fence()
    failing, parked, fine = (in_bucket(7) for _ in range(3))
    await append(database, failing, parked, fine, versions=2)
    first = {due.event.order_id: due for due in await fetch(database)}

    await database.run(lambda work: work.outbox.mark_failed([Failure(first[failing], "returned", 60.0)], fence))
    await database.run(lambda work: work.outbox.park([Failure(first[parked], "nobody", 0.0)], fence))
    await mark_sent(database, [first[fine]], fence)
    held_back = [(due.event.order_id, due.event.version) for due in await fetch(database)]
    await platform.query("update order_service.outbox set due_at = now() where order_id = %s and version = 1", failing)
    due_again = {(due.event.order_id, due.event.version) for due in await fetch(database)}

    assert held_back == [(fine, 2)]
    assert due_again == {(fine, 2), (failing, 1)}


async def test_an_event_that_failed_is_not_fetched_before_its_delay_is_over(
    platform: Platform, database: Database, relays: list[Leases]
) -> None:
    await relays[0].run_once()
    await append(database, uuid7())
    (due,) = await fetch(database)

    await database.run(lambda work: work.outbox.mark_failed([Failure(due, "returned", 60.0)], relays[0].fence()))

    assert await fetch(database) == []
    ((delay, attempts),) = await platform.query("select due_at - now(), attempts from order_service.outbox")
    assert 30 < delay.total_seconds() <= 60
    assert attempts == 1


async def test_an_event_is_fetched_from_its_bucket_only(database: Database) -> None:
    order_id = in_bucket(7)
    await append(database, order_id)

    assert await fetch(database, [6, 8]) == []
    assert [due.event.order_id for due in await fetch(database, [7])] == [order_id]


async def test_what_is_due_goes_in_the_order_in_which_it_came(platform: Platform, database: Database) -> None:
    order_ids = [in_bucket(7) for _ in range(40)]
    for order_id in order_ids:
        await append(database, order_id)

    window = await fetch(database, per_bucket=32)

    assert [due.event.order_id for due in window] == order_ids[:32]


BACKLOG = """
    insert into order_service.outbox (order_id, version, bucket, event_id, type, occurred_at, payload, due_at)
    select gen_random_uuid(), 1, n %% %s, gen_random_uuid(), 'order.created', now(), repeat('x', %s),
           now() - (1000000 - n) * interval '1 millisecond'
    from generate_series(1, %s) n
"""
"""Into so many buckets, events with a body of so many characters, so many of them."""
SMALL = 300


async def test_every_bucket_gets_its_turn_while_more_comes_in_than_is_sent(
    platform: Platform, database: Database, relays: list[Leases]
) -> None:
    await relays[0].run_once()
    fence, scan = relays[0].fence(), Scan()
    await platform.query(BACKLOG, BUCKETS, SMALL, 64 * 100)
    sent = dict.fromkeys(ALL_BUCKETS, 0)

    for _ in range(16):
        async with database.read() as work:
            window = await work.outbox.fetch_due(scan.since(fence.epochs, 0.0), 32, 256)
        scan.saw(window)
        for due in window:
            sent[due.bucket] += 1
        await mark_sent(database, window, fence)

    assert set(sent.values()) == {64}


async def test_a_window_of_large_events_holds_so_many_as_memory_bears(
    platform: Platform, database: Database, relays: list[Leases]
) -> None:
    await relays[0].run_once()
    fence = relays[0].fence()
    await platform.query(BACKLOG, BUCKETS, FETCHED_BYTES // 4, 9)
    await platform.query(BACKLOG, BUCKETS, FETCHED_BYTES * 3, 1)
    windows: list[int] = []

    while window := await fetch(database):
        windows.append(len(window))
        assert sum(len(due.event.payload) for due in window[:-1]) < FETCHED_BYTES
        await mark_sent(database, window, fence)

    assert sum(windows) == 10
    assert max(windows) == 4


WALKED = "select pg_stat_get_xact_tuples_returned('order_service.outbox_by_bucket'::regclass)"
"""Entries of the index that this transaction has gone through, those of deleted rows included."""


async def look(connection: "psycopg.AsyncConnection[Any]", since: Mapping[int, datetime]) -> tuple[list[DueEvent], int]:
    """What is due, and how many entries of the index that took."""
    async with connection.transaction():
        ((before,),) = await (await connection.execute(WALKED)).fetchall()
        window = await UnitOfWork(connection).outbox.fetch_due(since, 128, 256)
        ((after,),) = await (await connection.execute(WALKED)).fetchall()
    return window, after - before


async def test_a_backlog_drains_and_each_look_walks_no_further_while_an_old_transaction_stops_vacuum(
    platform: Platform, database: Database, relays: list[Leases]
) -> None:
    await relays[0].run_once()
    fence, scan = relays[0].fence(), Scan()
    await platform.query(BACKLOG, 4, SMALL, 20_000)
    await platform.query("analyze order_service.outbox")
    walked: list[int] = []
    sent = 0

    async with session(platform.database_url) as looking, session(platform.database_url) as old, old.transaction():
        await old.execute("set transaction isolation level repeatable read")
        await old.execute("select count(*) from order_service.orders")
        while sent < 20_000:
            window, entries = await look(looking, scan.since(fence.epochs, 0.0))
            walked.append(entries)
            scan.saw(window)
            sent += await mark_sent(database, window, fence)
        _, from_the_start = await look(looking, dict.fromkeys(fence.epochs, BEGINNING))

    assert await platform.query("select count(*) from order_service.outbox") == [(0,)]
    assert from_the_start == 20_000
    assert max(walked) < from_the_start / 10


async def test_an_event_whose_transaction_committed_long_after_it_was_due_is_found_at_the_next_look_from_the_start(
    platform: Platform, database: Database, relays: list[Leases]
) -> None:
    await relays[0].run_once()
    fence, scan = relays[0].fence(), Scan()
    late, quick = in_bucket(7), in_bucket(7)

    async def look(clock: float) -> list[UUID]:
        async with database.read() as work:
            window = await work.outbox.fetch_due(scan.since(fence.epochs, clock), 32, 256)
        scan.saw(window)
        return [due.event.order_id for due in window]

    async with session(platform.database_url) as slow, slow.transaction():
        await slow.execute(
            "insert into order_service.outbox"
            " (order_id, version, bucket, event_id, type, occurred_at, payload, due_at) values"
            " (%s, 1, 7, gen_random_uuid(), 'order.created', now(), '{}', now() - interval '3 seconds')",
            (late,),
        )
        await append(database, quick)
        seen_meanwhile = await look(10.0)
    seen_soon = await look(10.5)
    seen_from_the_start = await look(11.0)

    assert seen_meanwhile == [quick]
    assert seen_soon == [quick]
    assert seen_from_the_start == [late, quick]
