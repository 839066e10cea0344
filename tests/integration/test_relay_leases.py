"""Many relays share the outbox: each bucket has one at a time, and a relay that goes on writes one row."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from uuid_utils.compat import uuid7

from order_service.outbox.leases import Leases
from order_service.storage.database import Database
from order_service.storage.relay_leases import HOLD_SECONDS
from order_service.telemetry.metrics import Metrics
from tests.integration.platform import Platform
from tests.integration.relay_fixtures import ALL_BUCKETS, held, never_run_out, settle, three_relays
from tests.integration.storage_fixtures import blocked, opened, session
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


LIVES_UNTIL = "select expires_at from order_service.relays"


async def test_a_relay_that_goes_on_asks_with_one_statement_and_no_transaction(
    platform: Platform, database: Database
) -> None:
    relay = Leases(database, uuid7(), Metrics(), clock=lambda: 0.0)
    await relay.run_once()
    ((first_until,),) = await platform.query(LIVES_UNTIL)
    last_statements = "select query from pg_stat_activity where datname = current_database() and application_name <> ''"

    async def has_forgotten_the_transaction() -> bool:
        await relay.run_once()
        last = await platform.query(last_statements)
        return len(last) > 1 and all("with alive as (" in query for (query,) in last)

    await eventually(has_forgotten_the_transaction)
    ((last_until,),) = await platform.query(LIVES_UNTIL)
    assert last_until > first_until
    assert held(relay) == set(ALL_BUCKETS)


async def test_shares_are_even_when_each_has_renewed_twice_since_another_joined(relays: list[Leases]) -> None:
    first, joining, _ = relays
    await settle([first])

    for _ in range(2):
        await joining.run_once()
        await first.run_once()

    assert [len(held(relay)) for relay in (first, joining)] == [32, 32]
    assert held(first) | held(joining) == set(ALL_BUCKETS)


async def test_what_another_relay_lets_go_is_taken_at_the_next_renewal(relays: list[Leases]) -> None:
    staying, going, _ = relays
    await settle([staying, going])

    await going.release()
    await staying.run_once()

    assert held(staying) == set(ALL_BUCKETS)


async def test_a_connection_that_is_lost_while_a_relay_renews_costs_it_nothing(
    platform: Platform, relays: list[Leases]
) -> None:
    relay = relays[0]
    await settle([relay])
    epochs = dict(relay.fence().epochs)

    async with session(platform.database_url) as locking, locking.transaction():
        await locking.execute("select 1 from order_service.relays for update")
        renewing = asyncio.create_task(relay.run_once())
        await eventually(lambda: blocked(platform))
        await platform.query(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = current_database() and wait_event_type = 'Lock'"
        )
        await eventually(lambda: blocked_in_a_transaction(platform))
    await renewing

    assert relay.fence().epochs == epochs


async def blocked_in_a_transaction(platform: Platform) -> bool:
    """Whether a renewal that may write all there is waits for a lock."""
    waiting = "select query from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
    return any("insert into" in query for (query,) in await platform.query(waiting))


async def test_what_was_changed_by_hand_is_seen_at_the_next_renewal(platform: Platform, relays: list[Leases]) -> None:
    relay = relays[0]
    await settle([relay])

    await platform.query("update order_service.relay_leases set epoch = epoch + 5 where bucket = 7")
    await platform.query(
        "update order_service.relay_leases set owner = %s, expires_at = 'infinity' where bucket = 8", uuid7()
    )
    await relay.run_once()

    assert held(relay) == set(ALL_BUCKETS) - {8}
    assert relay.fence().epochs[7] == relay.fence().epochs[6] + 5
