"""A relay that dies, stands still or loses what it held: it is taken over, and its late marks change nothing."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from structlog.testing import capture_logs
from uuid_utils.compat import uuid7

from order_service.outbox.leases import BETWEEN_WINDOWS_SECONDS, RENEW_SECONDS, TTL_SECONDS, Leases
from order_service.storage.database import Database
from order_service.storage.events import BUCKETS
from order_service.storage.outbox import DueEvent, Failure, Fence
from order_service.storage.unit_of_work import UnitOfWork
from order_service.telemetry.metrics import Metrics
from tests.integration.platform import Platform
from tests.integration.relay_fixtures import (
    ALL_BUCKETS,
    append,
    expire,
    fetch,
    held,
    mark_sent,
    never_run_out,
    settle,
    three_relays,
)
from tests.integration.storage_fixtures import blocked, in_bucket, opened, session
from tests.waiting import eventually


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


async def test_a_relay_that_goes_on_takes_over_from_one_that_dies_at_its_next_renewal(
    platform: Platform, relays: list[Leases]
) -> None:
    dead, alive, _ = relays
    await settle([dead, alive])
    before = dict(dead.fence().epochs)
    await expire(platform, dead)

    await alive.run_once()

    assert len(before) == BUCKETS / 2
    assert held(alive) == set(ALL_BUCKETS)
    assert {bucket: alive.fence().epochs[bucket] for bucket in before} == {
        bucket: epoch + 1 for bucket, epoch in before.items()
    }


TakenOver = tuple[list[DueEvent], Leases, Leases, Fence]
"""Events that were fetched under leases which then went to another relay; the late relay, the other, the late fence."""


async def test_a_relay_that_was_buried_while_it_stood_still_holds_none_of_it_after_its_next_renewal(
    platform: Platform, database: Database, taken_over: TakenOver
) -> None:
    """Although by its own clock its leases had not run out."""
    published, late, _, late_fence = taken_over

    await late.run_once()

    assert held(late) == set()
    assert await mark_sent(database, published, late_fence) == 0
    assert await platform.query("select count(*) from order_service.outbox") == [(len(published),)]


@pytest.fixture
async def taken_over(platform: Platform, database: Database, relays: list[Leases]) -> TakenOver:
    """Three events."""
    late, other, _ = relays
    await late.run_once()
    fence = late.fence()
    await append(database, uuid7(), uuid7(), uuid7())
    published = await fetch(database)
    await expire(platform, late)
    await other.run_once()
    assert held(other) == set(ALL_BUCKETS)
    return published, late, other, fence


OUTBOX = "select order_id, version, due_at, attempts, last_failure from order_service.outbox order by order_id"


PARKED = "select count(*) from order_service.parked_messages"


CONFIRMED = "select count(*) from order_service.event_confirmations"


async def test_the_late_marks_of_a_fenced_relay_change_nothing(
    platform: Platform, database: Database, taken_over: TakenOver
) -> None:
    published, _, _, late = taken_over
    failures = [Failure(due, "returned: no queue is bound", 5.0) for due in published]
    before = await platform.query(OUTBOX)

    marked = await mark_sent(database, published, late)
    await database.run(lambda work: work.outbox.mark_failed(failures, late))
    await database.run(lambda work: work.outbox.park(failures, late))

    assert (len(before), marked) == (3, 0)
    assert await platform.query(OUTBOX) == before
    assert await platform.query(PARKED) == await platform.query(CONFIRMED) == [(0,)]


async def test_the_marks_of_the_new_owner_count(platform: Platform, database: Database, taken_over: TakenOver) -> None:
    (sent, failed, parked), _, other, _ = taken_over
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
