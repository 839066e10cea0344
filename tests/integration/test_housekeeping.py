"""What is older than its window is forgotten, room is made for the months to come, and no more rights are needed."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier, Literal
from uuid_utils.compat import uuid7

from order_service.domain.errors import StorageRefused
from order_service.outbox.leases import Leases
from order_service.saga.engine import DeadlinePassed, ReplyReceived
from order_service.saga.order_saga import StepName
from order_service.storage import migrations
from order_service.storage.database import Database
from order_service.storage.migration_files import migration_files
from order_service.storage.outbox import Failure
from order_service.storage.parked_messages import NewParked
from order_service.storage.unit_of_work import UnitOfWork
from order_service.telemetry.metrics import Metrics
from order_service.telemetry.readiness import Readiness
from order_service.timers.gauges import Gauges
from order_service.timers.housekeeping import Housekeeping
from order_service.timers.parked_retries import ParkedRetries
from order_service.use_cases.explain_order import explain_order
from order_service.use_cases.handle_parked_messages import discard_parked, redrive_parked
from order_service.use_cases.read_orders import Wanted
from tests.integration.platform import Platform
from tests.integration.storage_fixtures import (
    CANCEL,
    RULES,
    ask,
    create,
    created,
    events,
    history_of,
    make_due,
    opened,
    session,
    stimulate,
)

INBOX_KEEP, REQUEST_ID_KEEP = timedelta(days=7), timedelta(days=3)


@pytest.fixture
async def database(platform: Platform) -> AsyncIterator[Database]:
    async with opened(platform.database_url) as database:
        yield database


@pytest.fixture
def housekeeping(database: Database) -> Housekeeping:
    return Housekeeping(database, INBOX_KEEP, REQUEST_ID_KEEP)


async def note(platform: Platform, count: int, age: timedelta) -> None:
    """Notes messages and request ids as that old."""
    await platform.query(
        "insert into order_service.inbox (consumer, message_key, received_at)"
        " select 'StockUpdateResult', gen_random_uuid(), now() - %s from generate_series(1, %s)",
        age,
        count,
    )
    await platform.query(
        "insert into order_service.create_requests (user_id, request_id, fingerprint, order_id, created_at)"
        " select 'ada', gen_random_uuid()::text, '', gen_random_uuid(), now() - %s from generate_series(1, %s)",
        age,
        count,
    )


async def kept(platform: Platform) -> tuple[int, int]:
    """How many messages and request ids are remembered."""
    ((inbox, requests),) = await platform.query(
        "select (select count(*) from order_service.inbox), (select count(*) from order_service.create_requests)"
    )
    return inbox, requests


async def test_what_is_older_than_its_window_is_forgotten_and_what_is_fresh_stays(
    platform: Platform, housekeeping: Housekeeping
) -> None:
    minute = timedelta(minutes=1)
    for age, count in [
        (timedelta(), 1),
        (REQUEST_ID_KEEP - minute, 2),
        (REQUEST_ID_KEEP + minute, 4),
        (INBOX_KEEP - minute, 8),
        (INBOX_KEEP + minute, 16),
    ]:
        await note(platform, count, age)

    forgotten = await housekeeping.round()

    assert forgotten == 16 + (4 + 8 + 16)
    assert await kept(platform) == (1 + 2 + 4 + 8, 1 + 2)
    assert await housekeeping.round() == 0


async def test_much_is_forgotten_a_batch_at_a_time(platform: Platform, housekeeping: Housekeeping) -> None:
    await note(platform, 1_500, timedelta(days=30))

    rounds = [await housekeeping.round() for _ in range(3)]

    assert rounds == [2_000, 1_000, 0]
    assert await kept(platform) == (0, 0)


async def test_two_workers_that_keep_house_at_once_do_it_once(platform: Platform, housekeeping: Housekeeping) -> None:
    await note(platform, 500, timedelta(days=30))
    await note(platform, 10, timedelta())

    await asyncio.gather(*[housekeeping.round() for _ in range(4)])
    await housekeeping.round()

    assert await kept(platform) == (10, 10)


async def test_a_round_makes_room_for_the_next_three_months(platform: Platform, housekeeping: Housekeeping) -> None:
    for month in months_from_now(4)[1:]:
        await platform.query(f"drop table order_service.order_events_{month}")

    await housekeeping.round()

    assert set(months_from_now(4)) <= await partitions(platform, "order_events")


def months_from_now(count: int) -> list[str]:
    """This month and the next ones, as partitions are named after them."""
    now = datetime.now(UTC)
    months = [now.year * 12 + now.month - 1 + month for month in range(count)]
    return [f"{month // 12}_{month % 12 + 1:02}" for month in months]


async def partitions(platform: Platform, parent: str) -> set[str]:
    """The partitions of a table, by what their names add to its name."""
    found = await platform.query(
        "select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid where i.inhparent = %s::regclass",
        f"order_service.{parent}",
    )
    return {name.removeprefix(f"{parent}_") for (name,) in found}


@pytest.mark.parametrize("parent", ["order_events", "event_confirmations"])
async def test_partitions_are_made_as_far_ahead_as_asked_and_no_further(
    platform: Platform, database: Database, parent: str
) -> None:
    await database.run(lambda work: work.events.ensure_partitions(15))

    assert await partitions(platform, parent) == {*months_from_now(16), "default"}


async def test_partitions_are_made_once_whoever_asks_at_the_same_time(platform: Platform, database: Database) -> None:
    await asyncio.gather(*[database.run(lambda work: work.events.ensure_partitions(15)) for _ in range(8)])

    assert len(await partitions(platform, "order_events")) == 17


async def test_an_event_lands_in_the_partition_of_its_month_in_utc_wherever_that_was_made(platform: Platform) -> None:
    async with session(platform.database_url) as somewhere_else:
        await somewhere_else.execute("set timezone = 'Asia/Tokyo'")
        await somewhere_else.execute("select order_service.ensure_partitions(15)")

    await platform.query(
        "insert into order_service.order_events"
        " (order_id, version, event_id, user_id, type, status, occurred_at, payload)"
        " select gen_random_uuid(), 1, gen_random_uuid(), 'ada', 'order.created', 'PENDING', month + rest, '{}'"
        " from (select (date_trunc('month', now() at time zone 'UTC') + n * interval '1 month') at time zone 'UTC'"
        "       from generate_series(0, 14) n) months (month),"
        " (values (interval '0'), (interval '28 days' - interval '1 microsecond')) rests (rest)"
    )

    landed = await platform.query(
        "select c.relname, to_char(e.occurred_at at time zone 'UTC', 'YYYY_MM')"
        " from order_service.order_events e join pg_class c on c.oid = e.tableoid"
    )
    assert len(landed) == 30
    assert [table for table, month in landed if table != f"order_events_{month}"] == []


async def test_a_month_that_has_begun_in_the_default_partition_goes_on_there_and_stops_no_other(
    platform: Platform, database: Database
) -> None:
    await platform.query(
        "insert into order_service.event_confirmations (order_id, version, confirmed_at)"
        " values (gen_random_uuid(), 1, now() + interval '14 months')"
    )

    await database.run(lambda work: work.events.ensure_partitions(15))

    assert len(await partitions(platform, "event_confirmations")) == 16
    assert len(await partitions(platform, "order_events")) == 17


@pytest.mark.parametrize("at", [datetime(2001, 1, 1, tzinfo=UTC), datetime(2201, 1, 1, tzinfo=UTC)])
async def test_an_event_of_a_month_without_a_partition_is_kept_all_the_same(
    platform: Platform, database: Database, at: datetime
) -> None:
    (event,) = events(uuid7())
    when = "update order_service.order_events set occurred_at = %s"

    await database.run(lambda work: work.events.append([event]))
    await platform.query(when, at)

    assert await platform.query("select order_id from order_service.order_events_default") == [(event.order_id,)]
    assert await history_of(platform, event.order_id) == ["created"]


GRANTS = """
    grant usage on schema order_service to {role};
    grant select, insert, update, delete on
        order_service.orders, order_service.order_items, order_service.create_requests, order_service.sagas,
        order_service.order_events, order_service.event_confirmations, order_service.outbox,
        order_service.relay_leases, order_service.relays, order_service.inbox, order_service.parked_messages
        to {role};
    grant select on order_service.schema_migrations to {role};
    grant execute on function order_service.ensure_partitions(integer) to {role};
"""
"""All that the role of api and worker needs. It owns nothing and cannot make, change or drop a table; `migrate` is for
the role that owns the schema."""


@pytest.fixture
async def unprivileged(platform: Platform) -> AsyncIterator[str]:
    """The URL of the test's database for a role that has the GRANTS and nothing else."""
    role, password = f"role_{uuid7().hex}", "only for this test"
    async with session(platform.database_url) as owner:
        await owner.execute(SQL("create role {} login password {}").format(Identifier(role), Literal(password)))
        await owner.execute(SQL(GRANTS).format(role=Identifier(role)))
        yield make_conninfo(platform.database_url, user=role, password=password)
        await owner.execute(SQL("drop owned by {0}; drop role {0}").format(Identifier(role)))


async def test_a_role_with_no_more_than_these_grants_can_do_all_that_the_service_does(
    platform: Platform, unprivileged: str
) -> None:
    known = [migrations.Migration(name, sql) for name, sql in migration_files()]
    asked = ask(request_id="r")

    async with opened(unprivileged) as database:
        await migrations.check(unprivileged, known)
        await create(database, asked)
        await create(database, asked)
        await an_orders_life(platform, database, asked.order_id)
        await a_relays_work(database)
        await an_operators_work(database)
        await Housekeeping(database, INBOX_KEEP, REQUEST_ID_KEEP).round()
        await database.run(lambda work: work.events.ensure_partitions(15))

    assert await history_of(platform, asked.order_id) == ["created", "cancelled", "stock_release_requested"]
    assert len(await partitions(platform, "order_events")) == 17
    ((owner,),) = await platform.query("select count(distinct relowner) from pg_class where relname ~ '^order_events'")
    assert owner == 1


async def an_orders_life(platform: Platform, database: Database, order_id: object) -> None:
    (other,) = await created(database, 1)
    ((same,),) = await platform.query("select order_id from order_service.orders where order_id = %s", order_id)
    await make_due(platform, [same])
    async with database.read() as work:
        assert await work.sagas.longest_due(10) == await work.sagas.last_due(10) == [same]
    await database.run(lambda work: work.sagas.postpone([same], 0, 0))
    await database.run(lambda work: stimulate(work, same, DeadlinePassed()))
    await database.run(lambda work: stimulate(work, same, ReplyReceived(StepName.STOCK, True)))
    await database.run(lambda work: stimulate(work, other, CANCEL))
    async with database.snapshot() as work:
        await explain_order(work, Wanted(same, "ada"))
        await work.events.changes({same: (0, datetime.now(UTC))})


async def a_relays_work(database: Database) -> None:
    leases = Leases(database, uuid7(), Metrics(), clock=lambda: 0.0)
    await leases.run_once()
    fence = leases.fence()
    since = dict.fromkeys(fence.epochs, datetime(1, 1, 1, tzinfo=UTC))
    async with database.read() as work:
        sent, parked = await work.outbox.fetch_due(since, 32, 256)
    await database.run(lambda work: work.outbox.mark_failed([Failure(parked, "returned", 0)], fence))
    await database.run(lambda work: work.outbox.park([Failure(parked, "returned", 0)], fence))
    assert await database.run(lambda work: work.outbox.mark_sent([sent], fence)) == 1
    await leases.release()


async def an_operators_work(database: Database) -> None:
    message = NewParked("StockUpdateResult", uuid7(), "UNREADABLE", "", b"\xff", {})

    async def park(work: UnitOfWork) -> None:
        await work.parked.insert([message, message])

    await database.run(park)
    await Gauges(database, Metrics(), Readiness()).round()
    async with database.read() as work:
        out, redriven, discarded = await work.parked.page(0, 10)
    await database.run(lambda work: redrive_parked(work, out.parked_id))
    await database.run(lambda work: redrive_parked(work, redriven.parked_id))
    await database.run(lambda work: discard_parked(work, discarded.parked_id))
    await ParkedRetries(database, timedelta(minutes=5), RULES, Metrics(), asyncio.Event()).round()


@pytest.mark.parametrize(
    "statement",
    [
        "create table order_service.mine ()",
        "drop table order_service.orders",
        "alter table order_service.orders add column mine text",
        "truncate order_service.outbox",
        "insert into order_service.schema_migrations (name, checksum) values ('x', 'y')",
        "create table order_service.order_events_mine partition of order_service.order_events"
        " for values from ('2101-01-01') to ('2102-01-01')",
    ],
)
async def test_that_role_can_change_no_table(unprivileged: str, statement: str) -> None:
    async with session(unprivileged) as connection:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await connection.execute(statement.encode())


async def test_who_was_not_granted_it_may_not_make_partitions(platform: Platform, unprivileged: str) -> None:
    role = str(psycopg.conninfo.conninfo_to_dict(unprivileged)["user"])
    revoke = SQL("revoke execute on function order_service.ensure_partitions(integer) from {}")
    async with session(platform.database_url) as owner:
        await owner.execute(revoke.format(Identifier(role)))

    async with opened(unprivileged) as database:
        with pytest.raises(StorageRefused, match="permission denied for function ensure_partitions"):
            await database.run(lambda work: work.events.ensure_partitions(15))
