"""Migrations: each once, whole, in order, whoever runs them and however they end."""

import asyncio
import re
from pathlib import Path

import psycopg
import pytest

from order_service.domain.errors import StorageRefused, StorageUnavailable
from order_service.storage.migration_files import migration_files
from order_service.storage.migrations import Migration, MigrationRefused, check, migrate
from tests.integration.platform import Platform
from tests.integration.storage_fixtures import session
from tests.waiting import eventually

KNOWN = [Migration(name, sql) for name, sql in migration_files()]
FIRST = Migration("0001_first.sql", "create table order_service.first ()")
SECOND = Migration("0002_second.sql", "create table order_service.second ()")
THIRD = Migration("0003_third.sql", "create table order_service.third ()")
SLOW = Migration("0002_slow.sql", "create table order_service.half_done (); select pg_sleep(60)")
KEY_OF_ITEMS = "PRIMARY KEY (order_id, line)"
NAMES = ", ".join(migration.name for migration in KNOWN)

SCHEMA = """
    select table_schema, table_name, column_name, data_type, column_default, is_nullable
    from information_schema.columns where table_schema not in ('pg_catalog', 'information_schema')
    union all
    select schemaname, tablename, indexname, indexdef, '', '' from pg_indexes where schemaname = 'order_service'
    order by 1, 2, 3
"""


@pytest.fixture
async def empty(platform: Platform) -> Platform:
    """A database to which no migration was ever applied."""
    await platform.query("drop schema order_service cascade")
    return platform


async def run(platform: Platform, *migrations: Migration) -> list[str]:
    """Applies migrations; the names of those that were."""
    told: list[str] = []
    applied = await migrate(platform.database_url, migrations, told.append)
    assert applied == len(told)
    return told


async def recorded(platform: Platform) -> list[str]:
    """What is noted as applied."""
    return [name for (name,) in await platform.query("select name from order_service.schema_migrations order by name")]


async def tables(platform: Platform) -> set[str]:
    """The tables of the service's schema, its bookkeeping aside."""
    found = await platform.query(
        "select table_name from information_schema.tables where table_schema = 'order_service'"
    )
    return {name for (name,) in found} - {"schema_migrations"}


async def waiting_for(platform: Platform, event: str) -> list[int]:
    """The connections to the test's database that wait for that."""
    found = await platform.query(
        "select pid from pg_stat_activity where datname = current_database() and wait_event = %s", event
    )
    return [pid for (pid,) in found]


async def kill_the_sleeper(platform: Platform) -> None:
    """Ends the connection that carries out SLOW, as SIGKILL of its process would."""
    (pid,) = await eventually(lambda: waiting_for(platform, "PgSleep"))
    await platform.query("select pg_terminate_backend(%s)", pid)


async def test_a_new_database_gets_every_migration_in_order(empty: Platform) -> None:
    applied = await run(empty, *KNOWN)

    assert applied == await recorded(empty) == sorted(migration.name for migration in KNOWN)
    assert {"orders", "sagas", "outbox", "inbox", "parked_messages"} <= await tables(empty)


async def test_applying_everything_again_changes_nothing(empty: Platform) -> None:
    await run(empty, *KNOWN)
    before = await empty.query(SCHEMA)
    noted = await empty.query("select * from order_service.schema_migrations")

    applied = await run(empty, *KNOWN)

    assert applied == []
    assert await empty.query(SCHEMA) == before
    assert await empty.query("select * from order_service.schema_migrations") == noted


async def test_a_later_file_is_applied_to_a_database_that_has_the_earlier_ones(empty: Platform) -> None:
    await run(empty, FIRST)

    applied = await run(empty, FIRST, SECOND, THIRD)

    assert applied == ["0002_second.sql", "0003_third.sql"]


async def test_three_runners_at_once_apply_everything_once(empty: Platform) -> None:
    slow = Migration("9998_slow.sql", "select pg_sleep(0.3)")
    last = Migration("9999_last.sql", "create table order_service.last ()")
    files = [*KNOWN, slow, last]

    applied = await asyncio.gather(*[run(empty, *files) for _ in range(3)])

    assert sorted(name for names in applied for name in names) == [file.name for file in files]
    assert await recorded(empty) == [file.name for file in files]


async def test_a_file_that_was_edited_after_it_was_applied_is_refused(empty: Platform) -> None:
    await run(empty, FIRST)
    edited = Migration(FIRST.name, FIRST.sql + " -- and a word more")

    with pytest.raises(MigrationRefused, match=r"0001_first.sql was edited after it was applied: restore it"):
        await run(empty, edited, SECOND)

    assert await recorded(empty) == [FIRST.name]
    with pytest.raises(MigrationRefused, match=r"0001_first.sql was edited"):
        await check(empty.database_url, [edited])


async def test_a_file_that_sorts_before_an_applied_one_is_refused(empty: Platform) -> None:
    await run(empty, FIRST, THIRD)

    with pytest.raises(MigrationRefused, match=r"0002_second.sql sorts before 0003_third.sql.*: give it a later name"):
        await run(empty, FIRST, SECOND, THIRD)

    assert await tables(empty) == {"first", "third"}


async def test_a_runner_that_is_killed_in_the_middle_leaves_nothing_half_done(empty: Platform) -> None:
    running = asyncio.create_task(run(empty, FIRST, SLOW))

    await kill_the_sleeper(empty)
    with pytest.raises(StorageUnavailable):
        await running

    assert await tables(empty) == {"first"}
    assert await recorded(empty) == [FIRST.name]


async def test_after_a_runner_was_killed_the_next_one_goes_on(empty: Platform) -> None:
    running = asyncio.create_task(run(empty, FIRST, SLOW))
    await kill_the_sleeper(empty)
    await asyncio.wait([running])
    mended = Migration(SLOW.name, "create table order_service.half_done ()")

    applied = await run(empty, FIRST, mended)

    assert isinstance(running.exception(), StorageUnavailable)
    assert applied == [SLOW.name]
    assert await tables(empty) == {"first", "half_done"}


async def test_a_runner_that_waits_for_one_that_is_killed_takes_over(empty: Platform) -> None:
    mended = Migration(SLOW.name, "create table order_service.half_done ()")
    first = asyncio.create_task(run(empty, SLOW))
    await eventually(lambda: waiting_for(empty, "PgSleep"))
    second = asyncio.create_task(run(empty, mended))
    await eventually(lambda: waiting_for(empty, "advisory"))

    await kill_the_sleeper(empty)
    await asyncio.wait([first])

    assert isinstance(first.exception(), StorageUnavailable)
    assert await second == [SLOW.name]


async def test_a_file_with_a_mistake_is_not_applied_in_part_and_the_files_before_it_stay(empty: Platform) -> None:
    wrong = Migration("0002_wrong.sql", "create table order_service.half_done (); create table order_service.first ()")

    with pytest.raises(StorageRefused, match='relation "first" already exists'):
        await run(empty, FIRST, wrong, THIRD)

    assert await tables(empty) == {"first"}
    assert await recorded(empty) == [FIRST.name]


async def indexed(platform: Platform) -> dict[str, bool]:
    """Each partition of the history, and whether it has its index over time, attached to that of the whole."""
    found = await platform.query(
        """
        select c.relname, exists (
            select from pg_index x join pg_inherits p on p.inhrelid = x.indexrelid
            where x.indrelid = c.oid and p.inhparent = 'order_service.order_events_by_time'::regclass)
        from pg_inherits i join pg_class c on c.oid = i.inhrelid
        where i.inhparent = 'order_service.order_events'::regclass
        """
    )
    return dict(found)


async def test_every_part_of_a_small_history_is_indexed_over_time(empty: Platform) -> None:
    await run(empty, *KNOWN)

    parts = await indexed(empty)
    whole = await empty.query(
        "select indisvalid from pg_index where indexrelid = 'order_service.order_events_by_time'::regclass"
    )

    assert len(parts) == 14
    assert all(parts.values())
    assert whole == [(True,)]


async def test_a_large_part_of_the_history_that_is_written_to_is_left_alone(empty: Platform) -> None:
    await run(empty, KNOWN[0])
    await empty.query(
        """
        insert into order_service.order_events
        select gen_random_uuid(), 1, gen_random_uuid(), 'ada', 'order.created', 'PENDING', now(), null,
               repeat('x', 1900)
        from generate_series(1, 75000)
        """
    )

    await run(empty, *KNOWN)
    await empty.query("select order_service.ensure_partitions(13)")

    parts = await indexed(empty)
    month = await empty.query("select to_char(now() at time zone 'UTC', '_YYYY_MM')")
    assert [name for name, has_one in parts.items() if not has_one] == [f"order_events{month[0][0]}"]
    assert len(parts) == 15


async def key_of_items(platform: Platform) -> str:
    """How the primary key of items is defined."""
    ((definition,),) = await platform.query(
        "select pg_get_constraintdef(oid) from pg_constraint"
        " where conrelid = 'order_service.order_items'::regclass and contype = 'p'"
    )
    return str(definition)


async def test_items_are_within_their_index_with_those_that_were_there(empty: Platform) -> None:
    await run(empty, KNOWN[0])
    await empty.query("insert into order_service.order_items values (gen_random_uuid(), 1, 'tea', 2, 100)")
    before = await key_of_items(empty)

    await run(empty, *KNOWN)

    assert before == KEY_OF_ITEMS
    assert await key_of_items(empty) == f"{KEY_OF_ITEMS} INCLUDE (product_id, quantity, unit_price_minor)"
    assert await empty.query("select quantity from order_service.order_items") == [(2,)]


async def test_a_large_table_of_items_is_left_alone_until_an_operator_makes_its_index(empty: Platform) -> None:
    await run(empty, KNOWN[0])
    await empty.query(
        """
        insert into order_service.order_items
        select gen_random_uuid(), 1, repeat('x', 255), 1, 100 from generate_series(1, 60000)
        """
    )
    await run(empty, *KNOWN)
    left = await key_of_items(empty)

    for statement in statements_of("docs/operations.md", "order_items"):
        await empty.query(statement)

    assert left == KEY_OF_ITEMS
    assert await key_of_items(empty) == f"{KEY_OF_ITEMS} INCLUDE (product_id, quantity, unit_price_minor)"


def statements_of(document: str, table: str) -> list[str]:
    """What a document tells an operator to do with a table."""
    texts = re.findall(r"```sql\n(.*?)```", Path(document).read_text(), re.DOTALL)
    ((text),) = [text for text in texts if f"order_service.{table} " in text]
    return [statement for statement in text.split(";") if statement.strip()]


@pytest.mark.parametrize(("table", "whole"), [("order_events", 1), ("outbox", 2), ("order_items", 3)])
async def test_behind_a_long_transaction_that_writes_the_migration_gives_up_and_is_not_half_done(
    empty: Platform, table: str, whole: int
) -> None:
    await run(empty, *KNOWN[:whole])
    before = await empty.query(SCHEMA)

    async with session(empty.database_url) as other, other.transaction():
        await other.execute(f"lock table only order_service.{table} in row exclusive mode".encode())
        with pytest.raises(StorageUnavailable, match="lock timeout"):
            await run(empty, *KNOWN)

    assert await recorded(empty) == [migration.name for migration in KNOWN[:whole]]
    assert await empty.query(SCHEMA) == before
    assert await run(empty, *KNOWN) == [migration.name for migration in KNOWN[whole:]]


@pytest.mark.parametrize("first", ["order_events", "outbox", "order_items"])
async def test_no_writer_waits_for_a_migration_that_waits_for_it(empty: Platform, first: str) -> None:
    await run(empty, KNOWN[0])

    async with session(empty.database_url, options="-c deadlock_timeout=10ms") as writer, writer.transaction():
        await writer.execute(f"lock table only order_service.{first} in row exclusive mode".encode())
        migration = asyncio.create_task(run(empty, *KNOWN))
        await eventually(lambda: waiting_for(empty, "relation"))
        await writer.execute(
            "insert into order_service.order_events values"
            " (gen_random_uuid(), 1, gen_random_uuid(), 'ada', 'order.created', 'PENDING', now(), null, '{}')"
        )

    assert await migration == [known.name for known in KNOWN[1:]]


async def test_what_an_operator_has_indexed_already_is_left_alone(empty: Platform) -> None:
    await run(empty, *KNOWN)
    before = await empty.query(SCHEMA)
    await empty.query("delete from order_service.schema_migrations where name <> %s", KNOWN[0].name)

    applied = await run(empty, *KNOWN)

    assert applied == [migration.name for migration in KNOWN[1:]]
    assert await empty.query(SCHEMA) == before
    assert all((await indexed(empty)).values())


async def test_the_platforms_own_tables_of_the_same_names_are_left_alone(empty: Platform) -> None:
    await empty.query("create table public.orders (id serial primary key, user_id text, total_price numeric)")
    await empty.query("create table public.order_items (order_id int references public.orders, product_id text)")
    await empty.query("insert into public.orders (user_id, total_price) select 'ada', n from generate_series(1, 5) n")
    await empty.query("insert into public.order_items select id, 'tea' from public.orders")
    public = f"select * from ({SCHEMA}) columns where table_schema = 'public' order by 1, 2, 3"
    rows = "select o.*, i.* from public.orders o join public.order_items i on i.order_id = o.id order by o.id"
    before = await empty.query(public), await empty.query(rows)

    await run(empty, *KNOWN)

    assert (await empty.query(public), await empty.query(rows)) == before
    assert {"orders", "order_items"} <= await tables(empty)


async def test_nothing_is_made_outside_of_the_services_schema(empty: Platform) -> None:
    elsewhere = """
        select n.nspname, c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'order_service')
    """
    before = await empty.query(elsewhere)

    await run(empty, *KNOWN)

    assert await empty.query(elsewhere) == before


async def test_a_check_of_an_empty_database_says_what_to_run_and_changes_nothing(empty: Platform) -> None:
    with pytest.raises(MigrationRefused) as refused:
        await check(empty.database_url, KNOWN)

    assert str(refused.value) == f"the database lacks {NAMES}: run 'order-service migrate'"
    assert await empty.query("select 1 from pg_namespace where nspname = 'order_service'") == []


async def test_a_check_names_only_what_is_missing(empty: Platform) -> None:
    await run(empty, FIRST)

    with pytest.raises(MigrationRefused, match=r"^the database lacks 0002_second.sql, 0003_third.sql: run"):
        await check(empty.database_url, [FIRST, SECOND, THIRD])


async def test_a_check_of_a_database_that_is_up_to_date_passes(empty: Platform) -> None:
    await run(empty, *KNOWN)

    await check(empty.database_url, KNOWN)

    assert await recorded(empty) == [migration.name for migration in KNOWN]


async def test_a_version_that_does_not_know_the_latest_migrations_still_runs(empty: Platform) -> None:
    await run(empty, FIRST, SECOND)

    await check(empty.database_url, [FIRST])

    assert await run(empty, FIRST) == []


async def test_a_database_that_cannot_be_reached_is_unavailable(platform: Platform) -> None:
    nowhere = psycopg.conninfo.make_conninfo(platform.database_url, port=1)

    with pytest.raises(StorageUnavailable):
        await run(Platform(nowhere, "", platform.management, platform.folder), *KNOWN)
    with pytest.raises(StorageUnavailable):
        await check(nowhere, KNOWN)
