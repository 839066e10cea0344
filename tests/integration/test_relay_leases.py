"""Many relays share the outbox: each bucket has one at a time, whoever dies, and each order's events go one by one."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import psycopg
import pytest
from structlog.testing import capture_logs
from uuid_utils.compat import uuid7

from order_service.outbox.leases import BETWEEN_WINDOWS_SECONDS, RENEW_SECONDS, TTL_SECONDS, Leases
from order_service.outbox.scan import Scan
from order_service.storage.database import Database
from order_service.storage.events import BUCKETS
from order_service.storage.outbox import DueEvent, Failure, Fence
from order_service.storage.relay_leases import HOLD_SECONDS
from order_service.storage.unit_of_work import UnitOfWork
from order_service.telemetry.metrics import Metrics
from tests.integration.platform import Platform
from tests.integration.storage_fixtures import blocked, events, in_bucket, opened, session
from tests.waiting import eventually

BEGINNING = datetime(1, 1, 1, tzinfo=UTC)
ALL_BUCKETS = range(BUCKETS)


@pytest.fixture
async def database(platform: Platform) -> AsyncIterator[Database]:
    async with opened(platform.database_url, seconds=30) as database:
        yield database


@pytest.fixture
def long_lived(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases that do not run out within a test, however slow the machine, unless the test lets them."""
    monkeypatch.setattr("order_service.outbox.leases.TTL_SECONDS", 600.0)


@pytest.fixture
async def relays(platform: Platform, long_lived: None) -> AsyncIterator[list[Leases]]:
    """Three relays' leases, each on connections of its own."""
    async with three_relays(platform) as relays:
        yield relays


@asynccontextmanager
async def three_relays(platform: Platform) -> AsyncIterator[list[Leases]]:
    async with AsyncExitStack() as stack:
        databases = [
            await stack.enter_async_context(opened(platform.database_url, connections=2, seconds=30)) for _ in range(3)
        ]
        yield [Leases(database, uuid7(), Metrics()) for database in databases]


def held(relay: Leases) -> set[int]:
    return set(relay.fence().epochs)


async def settle(relays: Iterable[Leases]) -> None:
    """So many rounds that each has seen the others and has taken what they let go."""
    relays = list(relays)
    for _ in range(3):
        for relay in relays:
            await relay.run_once()


async def fetch(
    database: Database, buckets: Iterable[int] = ALL_BUCKETS, per_bucket: int = 32, limit: int = 10_000
) -> list[DueEvent]:
    """What is due, looked for from the beginning."""
    since = dict.fromkeys(buckets, BEGINNING)
    async with database.read() as work:
        return await work.outbox.fetch_due(since, per_bucket, limit)


async def append(database: Database, *order_ids: UUID, versions: int = 1) -> None:
    """Puts events into the outbox."""
    await database.run(
        lambda work: work.events.append([event for order_id in order_ids for event in events(order_id, versions)])
    )


async def mark_sent(database: Database, sent: Sequence[DueEvent], fence: Fence) -> int:
    return await database.run(lambda work: work.outbox.mark_sent(sent, fence))


async def expire(platform: Platform, relay: Leases) -> None:
    """Lets a relay be taken for dead by PostgreSQL."""
    await platform.query(
        "update order_service.relays set expires_at = now() - interval '1 second' where owner = %s", relay.owner
    )


async def test_a_relay_that_is_alone_takes_every_bucket(relays: list[Leases]) -> None:
    await relays[0].run_once()

    assert held(relays[0]) == set(ALL_BUCKETS)


async def test_three_relays_share_the_buckets_fairly(relays: list[Leases]) -> None:
    await relays[0].run_once()

    await settle(relays)

    shares = [held(relay) for relay in relays]
    assert sorted(len(share) for share in shares) == [20, 22, 22]
    assert set().union(*shares) == set(ALL_BUCKETS)


async def test_no_bucket_ever_has_two_owners_while_relays_come_and_go_at_once(
    platform: Platform, relays: list[Leases]
) -> None:
    one, two, three = relays
    for crowd in ([one], [one, two], [one, two, three], [two, three], [one, two, three], [three]):
        for gone in set(relays) - set(crowd):
            await gone.release()
        for _ in range(5):
            await asyncio.gather(*[relay.run_once() for relay in crowd])
            shares = [held(relay) for relay in crowd]
            assert sum(len(share) for share in shares) == len(set().union(*shares))
        assert set().union(*shares) == set(ALL_BUCKETS)


async def test_the_epoch_rises_with_each_owner_and_stays_with_one(platform: Platform, relays: list[Leases]) -> None:
    first, second, _ = relays
    await first.run_once()
    before = dict(first.fence().epochs)
    await first.run_once()
    renewed = dict(first.fence().epochs)

    await first.release()
    await second.run_once()

    assert renewed == before
    assert second.fence().epochs == {bucket: epoch + 1 for bucket, epoch in before.items()}


async def test_a_relay_that_stops_lets_go_at_once(relays: list[Leases]) -> None:
    first, second, _ = relays
    stopping = asyncio.Event()
    running = asyncio.create_task(first.run(stopping))
    await eventually(lambda: held(first))

    stopping.set()
    await running
    await second.run_once()

    assert held(first) == set()
    assert held(second) == set(ALL_BUCKETS)


async def test_a_relay_gives_buckets_up_only_when_nothing_of_them_is_in_flight(relays: list[Leases]) -> None:
    sending, joining, _ = relays
    await settle([sending])

    async with sending.window() as fence:
        await joining.run_once()
        await sending.run_once()
        await joining.run_once()
        held_in_flight = held(sending), held(joining)
    await settle([sending, joining])

    assert set(fence.epochs) == set(ALL_BUCKETS)
    assert held_in_flight == (set(ALL_BUCKETS), set())
    assert [len(held(relay)) for relay in (sending, joining)] == [32, 32]


async def test_a_relay_that_dies_is_taken_over_once_its_leases_have_run_out_and_it_has_stopped_by_then(
    platform: Platform,
) -> None:
    async with three_relays(platform) as (dead, alive, _):

        async def share() -> set[int]:
            await settle([dead, alive])
            lost = held(dead)
            return lost if held(alive) == set(ALL_BUCKETS) - lost else set()

        lost = await eventually(share)
        stopping = asyncio.Event()
        running = asyncio.create_task(alive.run(stopping))
        await eventually(lambda: held(alive) & lost)
        dead_held_then = held(dead)
        await eventually(lambda: held(alive) == set(ALL_BUCKETS))
        stopping.set()
        await running

    assert len(lost) == 32
    assert dead_held_then == set()


async def test_leases_that_ran_out_before_they_were_renewed_are_told_and_no_others(database: Database) -> None:
    now = 0.0
    relay = Leases(database, uuid7(), Metrics(), clock=lambda: now)

    with capture_logs() as logs:
        await relay.run_once()
        now = TTL_SECONDS - 0.1
        await relay.run_once()
        told_in_time = list(logs)
        now += TTL_SECONDS + 2.0
        await relay.run_once()
        await relay.run_once()

    assert told_in_time == []
    assert logs == [{"event": "leases.ran_out", "log_level": "warning", "seconds": 2.0}]


def test_a_dead_relay_is_taken_over_within_two_seconds() -> None:
    assert TTL_SECONDS + RENEW_SECONDS + BETWEEN_WINDOWS_SECONDS < 1.8
    assert RENEW_SECONDS < TTL_SECONDS / 3


async def test_a_lease_that_ran_out_and_that_nobody_took_still_marks_what_was_published(
    platform: Platform, database: Database, relays: list[Leases]
) -> None:
    relay = relays[0]
    await relay.run_once()
    fence = relay.fence()
    await append(database, uuid7())
    published = await fetch(database)
    await expire(platform, relay)

    await relay.run_once()

    assert relay.fence().epochs == fence.epochs
    assert await mark_sent(database, published, fence) == 1


LEASES = "select bucket, owner, epoch, expires_at, xmin::text from order_service.relay_leases order by bucket"


async def test_a_relay_that_goes_on_writes_its_own_row_and_no_bucket(platform: Platform, relays: list[Leases]) -> None:
    await relays[0].run_once()
    before = await platform.query(LEASES)

    await settle(relays[:1])

    assert await platform.query(LEASES) == before


async def test_a_lease_is_moved_on_long_before_its_end(platform: Platform, relays: list[Leases]) -> None:
    await relays[0].run_once()
    epochs = dict(relays[0].fence().epochs)
    nearly = HOLD_SECONDS / 2 - 1
    await platform.query("update order_service.relay_leases set expires_at = now() + %s * interval '1 s'", nearly)

    await relays[0].run_once()

    ((left,),) = await platform.query("select min(expires_at) - now() from order_service.relay_leases")
    assert HOLD_SECONDS / 2 < left.total_seconds() <= HOLD_SECONDS
    assert relays[0].fence().epochs == epochs


async def test_a_lease_whose_owner_is_forgotten_is_free_at_its_own_end(
    platform: Platform, relays: list[Leases]
) -> None:
    """So the previous release forgets the dead: without freeing what they held."""
    dead, alive, _ = relays
    await dead.run_once()
    await platform.query("delete from order_service.relays")

    await alive.run_once()
    held_before = held(alive)
    await platform.query("update order_service.relay_leases set expires_at = now() - interval '1 second'")
    await alive.run_once()

    assert held_before == set()
    assert held(alive) == set(ALL_BUCKETS)


async def test_a_relay_that_is_just_saying_that_it_lives_is_not_buried(
    platform: Platform, relays: list[Leases]
) -> None:
    late, other, _ = relays
    await late.run_once()
    await expire(platform, late)

    async with session(platform.database_url) as beating, beating.transaction():
        await beating.execute(
            "update order_service.relays set expires_at = now() + interval '1 minute' where owner = %s", (late.owner,)
        )
        await other.run_once()
    await settle([late, other])

    assert held(late) == set(range(BUCKETS // 2))
    assert {late.fence().epochs[bucket] for bucket in held(late)} == {1}


async def test_a_relay_that_wakes_while_it_is_buried_holds_nothing(platform: Platform, relays: list[Leases]) -> None:
    late, other, _ = relays
    await late.run_once()
    await expire(platform, late)

    async with session(platform.database_url) as burying, burying.transaction():
        unit_of_work = UnitOfWork(burying)
        await unit_of_work.relay_leases.keep(other.owner, TTL_SECONDS)
        waking = asyncio.create_task(late.run_once())
        await eventually(lambda: blocked(platform))
    await waking

    assert held(late) == set()
    assert await platform.query("select count(*) from order_service.relay_leases where owner = %s", other.owner) == [
        (BUCKETS,)
    ]


@pytest.fixture
async def taken_over(
    platform: Platform, database: Database, relays: list[Leases]
) -> tuple[list[DueEvent], Leases, Fence]:
    """Three events whose leases went to another relay after they were fetched: they, the other, and the late fence."""
    late, other, _ = relays
    await late.run_once()
    fence = late.fence()
    await append(database, uuid7(), uuid7(), uuid7())
    published = await fetch(database)
    await expire(platform, late)
    await other.run_once()
    assert held(other) == set(ALL_BUCKETS)
    return published, other, fence


OUTBOX = "select order_id, version, due_at, attempts, last_failure from order_service.outbox order by order_id"
PARKED = "select count(*) from order_service.parked_messages"
CONFIRMED = "select count(*) from order_service.event_confirmations"


async def test_the_late_marks_of_a_fenced_relay_change_nothing(
    platform: Platform, database: Database, taken_over: tuple[list[DueEvent], Leases, Fence]
) -> None:
    published, _, late = taken_over
    failures = [Failure(due, "returned: no queue is bound", 5.0) for due in published]
    before = await platform.query(OUTBOX)

    marked = await mark_sent(database, published, late)
    await database.run(lambda work: work.outbox.mark_failed(failures, late))
    await database.run(lambda work: work.outbox.park(failures, late))

    assert (len(before), marked) == (3, 0)
    assert await platform.query(OUTBOX) == before
    assert await platform.query(PARKED) == await platform.query(CONFIRMED) == [(0,)]


async def test_the_marks_of_the_new_owner_count(
    platform: Platform, database: Database, taken_over: tuple[list[DueEvent], Leases, Fence]
) -> None:
    (sent, failed, parked), other, _ = taken_over
    fence = other.fence()

    marked = await mark_sent(database, [sent], fence)
    await database.run(lambda work: work.outbox.mark_failed([Failure(failed, "returned", 5.0)], fence))
    await database.run(lambda work: work.outbox.park([Failure(parked, "nobody", 0.0)], fence))

    rows = {order_id: rest for order_id, *rest in await platform.query(OUTBOX.replace("due_at", "isfinite(due_at)"))}
    assert marked == 1
    assert rows == {
        failed.event.order_id: [1, True, 1, "returned"],
        parked.event.order_id: [1, False, 1, "nobody"],
    }
    assert await platform.query(PARKED) == await platform.query(CONFIRMED) == [(1,)]


async def test_a_mark_counts_in_the_leased_buckets_only(database: Database, relays: list[Leases]) -> None:
    await settle(relays)
    mine, others = relays[0], relays[1]
    order_ids = [in_bucket(min(held(relay))) for relay in (mine, others)]
    await append(database, *order_ids)
    published = await fetch(database)
    pretended = Fence(mine.owner, dict(mine.fence().epochs) | dict(others.fence().epochs))

    marked = await mark_sent(database, published, pretended)

    assert marked == 1
    assert [due.event.order_id for due in await fetch(database)] == [order_ids[1]]


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
    select gen_random_uuid(), 1, n %% %s, gen_random_uuid(), 'order.created', now(), repeat('x', 300),
           now() - (1000000 - n) * interval '1 millisecond'
    from generate_series(1, %s) n
"""


async def test_every_bucket_gets_its_turn_while_more_comes_in_than_is_sent(
    platform: Platform, database: Database, relays: list[Leases]
) -> None:
    await relays[0].run_once()
    fence, scan = relays[0].fence(), Scan()
    await platform.query(BACKLOG, BUCKETS, 64 * 100)
    sent = dict.fromkeys(ALL_BUCKETS, 0)

    for _ in range(16):
        async with database.read() as work:
            window = await work.outbox.fetch_due(scan.since(fence.epochs, 0.0), 32, 256)
        scan.saw(window)
        for due in window:
            sent[due.bucket] += 1
        await mark_sent(database, window, fence)

    assert set(sent.values()) == {64}


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
    await platform.query(BACKLOG, 4, 20_000)
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
