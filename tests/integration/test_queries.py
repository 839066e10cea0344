"""Every query of every `.sql` file fits the schema, and those that are asked all the time stay on their index."""

import inspect
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any
from uuid import UUID

import psycopg
import pytest

import order_service.storage
from order_service.storage.events import FETCHED_BYTES
from order_service.storage.orders import ITEM_BYTES, ORDER_BYTES, PAGE_BYTES
from order_service.storage.queries import queries
from order_service.storage.table import Table
from order_service.storage.unit_of_work import UnitOfWork
from tests.integration.platform import Platform, Servers
from tests.integration.storage_fixtures import session

SQL = files(order_service.storage).joinpath("sql")
TABLES = sorted(file.name.removesuffix(".sql") for file in SQL.iterdir())
QUERIES = {f"{table}.{name}": query.decode() for table in TABLES for name, query in queries(table).items()}
PLACEHOLDER = re.compile(r"%\((\w+)\)s")


def placeholders(query: str) -> list[str]:
    """The names of a query's parameters, each once."""
    return list(dict.fromkeys(PLACEHOLDER.findall(query)))


def numbered(query: str) -> str:
    """The query as PREPARE takes it."""
    names = placeholders(query)
    return PLACEHOLDER.sub(lambda found: f"${names.index(found[1]) + 1}", query).replace("%%", "%")


def tables_of_a_unit_of_work() -> Iterator[type[Table]]:
    for property in vars(UnitOfWork).values():
        if hasattr(property, "func"):
            yield inspect.get_annotations(property.func, eval_str=True)["return"]


def test_every_file_is_the_file_of_one_table_of_the_unit_of_work() -> None:
    assert sorted(table.name for table in tables_of_a_unit_of_work()) == TABLES


@pytest.mark.parametrize("name", QUERIES)
def test_a_query_has_a_line_of_purpose(name: str) -> None:
    purpose, *_ = QUERIES[name].splitlines()

    assert re.fullmatch(r"-- [A-Z].{15,}", purpose)


@pytest.mark.parametrize("name", QUERIES)
def test_a_query_is_asked_by_the_module_of_its_table(name: str) -> None:
    table, _, query = name.partition(".")

    module = files(order_service.storage).joinpath(f"{table}.py").read_text()

    assert f'"{query}"' in module


@pytest.mark.parametrize("table", TABLES)
def test_no_query_of_a_file_hides_another_of_the_same_name(table: str) -> None:
    names = re.findall(r"^-- name: (.*)$", SQL.joinpath(f"{table}.sql").read_text(), re.MULTILINE)

    assert sorted(names) == sorted(queries(table))


@pytest.mark.parametrize("name", QUERIES)
async def test_a_query_fits_the_schema(name: str, shared_platform: Platform) -> None:
    async with session(shared_platform.database_url) as connection:
        await connection.execute(f"prepare fits as {numbered(QUERIES[name])}".encode())

        cursor = await connection.execute("select cardinality(parameter_types) from pg_prepared_statements")
        ((parameters,),) = await cursor.fetchall()

    assert parameters == len(placeholders(QUERIES[name]))


FILL = """
    insert into order_service.orders
        (order_id, user_id, currency, total_minor, status, version, created_at, updated_at)
    select ('00000000-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid, 'user ' || n % 100, 'USD', 100, 'PENDING', 1,
           now(), now()
    from generate_series(1, 20000) n;
    insert into order_service.order_items (order_id, line, product_id, quantity, unit_price_minor)
    select order_id, 1, 'tea', 1, 100 from order_service.orders;
    insert into order_service.sagas (order_id, state, steps, started_at, asked_at, deadline_at)
    select order_id, 'RUNNING', '{"stock": "ASKED"}', now(), now(),
           now() + (row_number() over () - 100) * interval '1 second'
    from order_service.orders;
    insert into order_service.outbox (order_id, version, bucket, event_id, type, occurred_at, payload, due_at)
    select order_id, 1, row_number() over () % 64, gen_random_uuid(), 'order.created', now(), repeat('x', 400),
           now() - row_number() over () * interval '1 millisecond'
    from order_service.orders;
    insert into order_service.parked_messages
        (direction, source, message_key, reason_code, reason, body, headers, retry_at)
    select 'IN', 'StockUpdateResult', gen_random_uuid(), 'UNKNOWN_ORDER', '', '', '{}',
           case when n % 10 = 0 then now() + (n - 500) * interval '1 second' end
    from generate_series(1, 20000) n;
    insert into order_service.order_events (order_id, version, event_id, user_id, type, status, occurred_at, payload)
    select order_id, 1, gen_random_uuid(), user_id, 'order.created', 'PENDING',
           timestamptz '2020-01-01T00:00:00Z' + row_number() over () * interval '1 second', repeat('x', 400)
    from order_service.orders;
    select brin_summarize_new_values('order_service.order_events_default_occurred_at_idx');
    analyze order_service.orders, order_service.order_items, order_service.sagas, order_service.outbox,
        order_service.parked_messages, order_service.relay_leases, order_service.order_events;
    update order_service.relay_leases set owner = '00000000-0000-0000-0000-000000000001', epoch = 7;
"""
ORDER_IDS = [UUID(f"00000000-0000-7000-8000-{n:012}") for n in range(1, 21)]
ROWS = [{"order_id": str(order_id), "version": 1, "bucket": 3, "epoch": 7} for order_id in ORDER_IDS]
BUCKETS = [{"bucket": bucket, "since": "0001-01-01T00:00:00Z"} for bucket in range(64)]
PAGE = {
    "below": UUID(int=2**128 - 1),
    "statuses": ["PENDING"],
    "most": 51,
    "most_bytes": PAGE_BYTES,
    "order_bytes": ORDER_BYTES,
    "item_bytes": ITEM_BYTES,
}

BUSY: dict[str, tuple[dict[str, Any], set[str]]] = {
    "outbox.fetch_due": (
        {"buckets": BUCKETS, "per_bucket": 32, "limit": 256, "most_bytes": FETCHED_BYTES},
        {"outbox_by_bucket", "outbox_pkey"},
    ),
    "outbox.mark_sent": ({"rows": ROWS, "owner": UUID(int=1)}, {"outbox_pkey"}),
    "outbox.unsent_of_order": ({"order_id": ORDER_IDS[0]}, {"outbox_pkey"}),
    "events.replay": (
        {
            "after_time": datetime(2020, 1, 1, 3, tzinfo=UTC),
            "until_time": datetime(2020, 1, 1, 3, 2, tzinfo=UTC),
            "after_order_id": UUID(int=0),
            "after_version": 0,
            "types": ["order.created", "order.confirmed"],
            "limit": 2_000,
            "most_bytes": FETCHED_BYTES,
        },
        {"order_events_default_occurred_at_idx"},
    ),
    "sagas.longest_due": ({"limit": 200}, {"sagas_by_deadline"}),
    "sagas.last_due": ({"limit": 200}, {"sagas_by_deadline"}),
    "parked_messages.claim_due": ({"limit": 100}, {"parked_messages_by_retry"}),
    "orders.page_of_user": (
        {"user_id": "user 7", "scan": 10_000, **PAGE},
        {"orders_by_user", "order_items_pkey"},
    ),
    "orders.page_of_all": (
        {"scan": 200, **PAGE},
        {"orders_pkey", "order_items_pkey"},
    ),
    "orders.get": ({"order_ids": ORDER_IDS}, {"orders_pkey", "order_items_pkey"}),
    "orders.lock": ({"order_ids": ORDER_IDS}, {"orders_pkey"}),
    "orders.locked": ({"order_ids": ORDER_IDS}, {"orders_pkey", "sagas_pkey"}),
    "orders.items": ({"order_ids": ORDER_IDS}, {"order_items_pkey"}),
}
"""What is asked for each order or in each round: with parameters as busy as they come, and the indexes to be used."""

MOST_ROWS = 600
"""Of 20,000: what a round looks at must not grow with the table."""


LOOKED_AT = ("Actual Rows", "Rows Removed by Filter", "Rows Removed by Index Recheck")


@pytest.fixture(scope="module")
def filled(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A database with 20,000 orders, about which statistics are known."""
    with Platform.make(servers, tmp_path_factory.mktemp("filled")) as platform:
        with psycopg.connect(platform.database_url, autocommit=True) as connection:
            connection.execute(FILL)
        yield platform


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """All nodes of a plan."""
    yield plan
    for inner in plan.get("Plans", ()):
        yield from nodes(inner)


async def plan_of(platform: Platform, name: str, parameters: dict[str, Any], mode: str) -> list[dict[str, Any]]:
    """How PostgreSQL carried the query out; whatever it changed is undone."""
    given = [parameters[placeholder] for placeholder in placeholders(QUERIES[name])]
    values = [json.dumps(value) if isinstance(value, list) and isinstance(value[0], dict) else value for value in given]
    call = f"explain (analyze, format json) execute busy({', '.join(['%s'] * len(values))})"
    async with session(platform.database_url, cursor_factory=psycopg.AsyncClientCursor) as connection:
        await connection.execute(f"set plan_cache_mode = {mode}".encode())
        await connection.execute(f"prepare busy as {numbered(QUERIES[name])}".encode())
        async with connection.transaction(force_rollback=True):
            cursor = await connection.execute(call.encode(), values)
            ((explained,),) = await cursor.fetchall()
    return list(nodes(explained[0]["Plan"]))


@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
@pytest.mark.parametrize("name", BUSY)
async def test_a_busy_query_stays_on_its_index(name: str, mode: str, filled: Platform) -> None:
    parameters, indexes = BUSY[name]

    plan = await plan_of(filled, name, parameters, mode)

    walked = {node["Relation Name"] for node in plan if node["Node Type"] == "Seq Scan"}
    looked_at = sum(
        node["Actual Loops"] * sum(node.get(rows, 0) for rows in LOOKED_AT)
        for node in plan
        if "Relation Name" in node and node["Relation Name"] != "relay_leases"
    )
    assert {node["Index Name"] for node in plan if "Index Name" in node} == indexes
    assert walked <= {"relay_leases"}
    assert 0 < looked_at <= MOST_ROWS
