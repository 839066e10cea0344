"""Tables as the service leaves them after many orders, made in bulk by PostgreSQL itself.

Each order is confirmed: two items, a saga that is completed, two events in the history, both confirmed by the broker.
They are spread evenly over the last thirty days, and what the service forgets after a while (the inbox after a week,
idempotency keys after three days) is there for the younger ones only. Ids are UUIDv7 in the order of time, made from
the order's number, so that the same size gives the same rows but for their times.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import psycopg
from psycopg import AsyncConnection
from psycopg.sql import SQL, Identifier, Literal

from order_service.domain.events import OrderConfirmed, OrderEvent
from order_service.domain.status import OrderStatus
from order_service.messages.outgoing import encode
from tests.bench.events import PLACEHOLDER, template

LISTED_USER: Final = "listed-user"
"""Has as many orders as he was given, evenly among those of the others."""

TABLES: Final = (
    "orders",
    "order_items",
    "sagas",
    "order_events",
    "event_confirmations",
    "inbox",
    "create_requests",
)

ORDERS_A_USER: Final = 100
SPREAD: Final = timedelta(days=30)
_INBOX_FOR: Final = timedelta(days=6.5)
_REQUEST_IDS_FOR: Final = timedelta(days=2.5)
"""Less than the service's own windows: nothing is forgotten while it is measured."""

_CHUNK: Final = 10_000
_AT_ONCE: Final = 2

_FILL: Final = """
    with given as (
        select %(first)s::bigint as first, %(last)s::bigint as last, %(began_at)s::timestamptz as began_at,
               %(apart)s::interval as apart, %(users)s::integer as users, %(every)s::integer as every,
               %(listed_user)s::text as listed_user, %(created)s::text as created, %(confirmed)s::text as confirmed,
               %(placeholder)s::text as placeholder
    ), numbered as (
        select n, began_at + n * apart as at, md5(n::text) as digest, md5('event' || n) as event_digest, given.*
        from given, generate_series(first, last) n
    ), made as materialized (
        select n, at, digest, event_digest, created, confirmed, placeholder,
               '00-' || digest || '-' || substr(event_digest, 1, 16) || '-00' as traceparent,
               (milliseconds || '7' || substr(digest, 1, 3) || '8' || substr(digest, 4, 15))::uuid as order_id,
               case when every > 0 and n %% every = 0 then listed_user
                    else 'user-' || lpad((n * 7919 %% users)::text, 6, '0') end as user_id
        from numbered, lateral (
            select lpad(to_hex(floor(extract(epoch from at) * 1000)::bigint), 12, '0') as milliseconds) m
    ), orders as (
        insert into order_service.orders
            (order_id, user_id, currency, total_minor, status, version, created_at, updated_at)
        select order_id, user_id, 'USD', 4547, 'CONFIRMED', 2, at, at + interval '50 milliseconds' from made
    ), items as (
        insert into order_service.order_items (order_id, line, product_id, quantity, unit_price_minor)
        select order_id, line, 'product-' || lpad(((n * line * 7) %% 499)::text, 6, '0'), 3 - line, 500 + line * 700
        from made, generate_series(1, 2) line
    ), sagas as (
        insert into order_service.sagas (order_id, state, steps, started_at, traceparent)
        select order_id, 'COMPLETED', '{"stock": "HELD"}', at, traceparent from made
    ), history as (
        insert into order_service.order_events
            (order_id, version, event_id, user_id, type, status, occurred_at, traceparent, payload)
        select order_id, version, (substr(order_id::text, 1, 14) || '7' || substr(event_digest, version, 3) || '-8'
                   || substr(event_digest, 4 + version, 15))::uuid,
               user_id, case version when 1 then 'order.created' else 'order.confirmed' end,
               case version when 1 then 'PENDING' else 'CONFIRMED' end,
               at + (version - 1) * interval '50 milliseconds', traceparent,
               replace(case version when 1 then created else confirmed end, placeholder, order_id::text)
        from made, generate_series(1, 2) version
    ), confirmations as (
        insert into order_service.event_confirmations (order_id, version, confirmed_at)
        select order_id, version, at + (version * 50 - 30) * interval '1 millisecond'
        from made, generate_series(1, 2) version
    ), handled as (
        insert into order_service.inbox (consumer, message_key, received_at)
        select 'StockUpdateResult', digest::uuid, at + interval '45 milliseconds'
        from made where at >= %(inbox_since)s
    )
    insert into order_service.create_requests (user_id, request_id, fingerprint, order_id, created_at)
    select user_id, 'request-' || n, digest, order_id, at from made where at >= %(request_ids_since)s
"""


@dataclass(frozen=True, slots=True)
class Filling:
    """How many orders, and how many of them are `LISTED_USER`'s."""

    orders: int
    listed: int

    def parameters(self, now: datetime) -> dict[str, Any]:
        """What the statement needs for every part."""
        return {
            "began_at": now - SPREAD,
            "apart": SPREAD / (self.orders + 1),
            "users": max(1, self.orders // ORDERS_A_USER),
            "every": self.orders // self.listed if self.listed else 0,
            "listed_user": LISTED_USER,
            "created": template(),
            "confirmed": _confirmed_template(),
            "placeholder": str(PLACEHOLDER),
            "inbox_since": now - _INBOX_FOR,
            "request_ids_since": now - _REQUEST_IDS_FOR,
        }


async def fill(database_url: str, filling: Filling, tell: Callable[[int], None]) -> None:
    """Fills empty tables, indexes, checks and all; `tell` hears how many orders are there. A commit does not wait for
    the disk meanwhile; on return everything is on it, and vacuumed."""
    if filling.listed and filling.orders % filling.listed:
        raise ValueError("the listed user's orders must be a whole share of all")
    parameters = filling.parameters(datetime.now(UTC))
    parts = iter(range(1, filling.orders + 1, _CHUNK))
    done = 0

    async def work() -> None:
        nonlocal done
        async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
            await connection.execute("set synchronous_commit = off")
            for first in parts:
                last = min(first + _CHUNK - 1, filling.orders)
                await connection.execute(_FILL, {**parameters, "first": first, "last": last})
                done += last - first + 1
                tell(done)

    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
        await _make_past_partitions(connection, parameters["began_at"])
        async with asyncio.TaskGroup() as tasks:
            for _ in range(_AT_ONCE):
                tasks.create_task(work())
        await connection.execute("vacuum analyze")
        await connection.execute("checkpoint")


async def size_of(database_url: str) -> int:
    """Bytes of the service's tables, indexes included."""
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
        cursor = await connection.execute(
            "select coalesce(sum(pg_total_relation_size(oid)), 0)::bigint from pg_class"
            " where relnamespace = 'order_service'::regnamespace and relkind = 'r'"
        )
        row = await cursor.fetchone()
    return int(row[0]) if row else 0


async def _make_past_partitions(connection: AsyncConnection[tuple[Any, ...]], since: datetime) -> None:
    """Those that a service has which was there already then."""
    statement = SQL("create table order_service.{} partition of order_service.{} for values from ({}) to ({})")
    for begins, ends in past_months(since, datetime.now(UTC)):
        for parent in ("order_events", "event_confirmations"):
            name = Identifier(f"{parent}_{begins:%Y_%m}")
            await connection.execute(statement.format(name, Identifier(parent), Literal(begins), Literal(ends)))


def past_months(since: datetime, now: datetime) -> list[tuple[datetime, datetime]]:
    """Begin and end of each month from that of `since` to the one before that of `now`."""
    months = []
    begins = datetime(since.year, since.month, 1, tzinfo=UTC)
    while (begins.year, begins.month) < (now.year, now.month):
        ends = (begins + timedelta(days=32)).replace(day=1)
        months.append((begins, ends))
        begins = ends
    return months


def _confirmed_template() -> str:
    """The body of OrderConfirmed as the service writes it."""
    moment = datetime(2026, 1, 1, 12, 30, 15, 123456, tzinfo=UTC)
    event = OrderEvent(UUID(int=0), PLACEHOLDER, "user-000000", 2, OrderStatus.CONFIRMED, moment, OrderConfirmed())
    return encode(event)
