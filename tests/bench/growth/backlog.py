"""Orders whose OrderCreated waits to be sent, let loose at one instant; and how fast the worker gets through them."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final
from uuid import uuid4

from tests.bench.events import PLACEHOLDER, template
from tests.bench.growth.databases import Database
from tests.bench.measured import Figure
from tests.bench.rates import Mark, middle_rate
from tests.bench.stopwatch import Stopwatch, figure
from tests.integration.platform import Platform, Running
from tests.integration.storage_fixtures import session

PATIENT: Final = {"SAGA_STOCK_TIMEOUT": "24h"}
"""No order that is left waiting by one round is cancelled in the next."""

LOCK_WAITS: Final = "share of statements that wait for a lock"
"""A figure of `carried`."""

_LOOK_SECONDS: Final = 0.1
_BOUND_SECONDS: Final = 300.0

_MAKE: Final = """
    with made as materialized (
        select n, user_id, template, placeholder, '00-' || md5(n::text) || '-00f067aa0ba902b7-00' as traceparent,
               now() as at, now() + n * interval '1 us' as due_at,
               (lpad(to_hex(floor(extract(epoch from now()) * 1000)::bigint - count + n), 12, '0') || '7'
                   || substr(md5(user_id || n), 1, 3) || '8' || substr(md5(user_id || n), 4, 15))::uuid as order_id
        from (select %s::integer as count, %s::text as user_id, %s::text as template, %s::text as placeholder) given,
             generate_series(1, count) n
    ), orders as (
        insert into order_service.orders
            (order_id, user_id, currency, total_minor, status, version, created_at, updated_at)
        select order_id, user_id, 'USD', 4547, 'PENDING', 1, at, at from made
    ), items as (
        insert into order_service.order_items (order_id, line, product_id, quantity, unit_price_minor)
        select order_id, line, 'product-' || lpad((n %% 499)::text, 6, '0'), 1, 500
        from made, generate_series(1, 2) line
    ), sagas as (
        insert into order_service.sagas (order_id, state, steps, asked_at, deadline_at, started_at, traceparent)
        select order_id, 'RUNNING', '{"stock": "ASKED"}', at, at + interval '1 day', at, traceparent from made
    ), history as (
        insert into order_service.order_events
            (order_id, version, event_id, user_id, type, status, occurred_at, traceparent, payload)
        select order_id, 1, order_id, user_id, 'order.created', 'PENDING', at, traceparent,
               replace(template, placeholder, order_id::text)
        from made
    )
    insert into order_service.outbox
        (order_id, version, bucket, event_id, type, occurred_at, traceparent, payload, due_at)
    select order_id, 1, get_byte(uuid_send(order_id), 15) & 63, order_id, 'order.created', at, traceparent,
           replace(template, placeholder, order_id::text), due_at
    from made
"""
_SETTLED: Final = """
    select not exists (select from order_service.sagas where deadline_at is not null)
        and not exists (select from order_service.outbox),
        array(select coalesce(wait_event_type, '') from pg_stat_activity
              where datname = current_database() and state = 'active' and pid <> pg_backend_pid())
"""
_ENDED: Final = """
    select extract(epoch from updated_at)::double precision, count(*) from order_service.orders
    where user_id = %s and status <> 'PENDING' group by updated_at order by updated_at
"""


async def make_backlog(platform: Platform, count: int) -> str:
    """So many orders, all at once, of a user of their own; the user. None was due before it was there: a relay that has
    looked already looks for such events now and then only."""
    user = f"backlog-{uuid4()}"
    await platform.query(_MAKE, count, user, template(), str(PLACEHOLDER))
    return user


async def relayed(database: Database, relay: Running, count: int) -> Figure:
    """Events a second that a relay, which runs already, sends and marks. What it did is read from its own metrics: a
    query would walk over all that it has deleted."""
    before = await asyncio.to_thread(_confirmed, relay)
    stopwatch = Stopwatch({"service": relay.process.pid, **database.site.watched})
    await make_backlog(database.platform, count)
    marks: list[Mark] = []
    seen, ends = 0, time.monotonic() + _BOUND_SECONDS
    while seen < count:
        _check(relay, ends)
        await asyncio.sleep(_LOOK_SECONDS)
        now = round(await asyncio.to_thread(_confirmed, relay) - before)
        if now > seen:
            marks.append((time.monotonic(), now - seen))
        seen = now
    return _figure(stopwatch, marks, count)


async def carried(database: Database, workers: Sequence[Running], count: int) -> Figure:
    """Sagas a second that workers, which run already, bring to their end."""
    platform = database.platform
    watched = {f"worker {place}": worker.process.pid for place, worker in enumerate(workers, 1)}
    stopwatch = Stopwatch({**watched, **database.site.watched})
    user = await make_backlog(platform, count)
    waiting = await settled(platform, workers)
    found = _figure(stopwatch, await platform.query(_ENDED, user), count)
    of_workers = sum(found.cpu_us[name] for name in watched)
    others = {name: spent for name, spent in found.cpu_us.items() if name not in watched}
    return Figure(found.value, {"workers": of_workers, **others}, {LOCK_WAITS: waiting})


async def settled(platform: Platform, workers: Sequence[Running]) -> float:
    """Returns once no saga is under way and no event waits: the share of PostgreSQL's statements that were seen waiting
    for a lock until then. Raises AssertionError if it takes too long."""
    ends = time.monotonic() + _BOUND_SECONDS
    waits: Counter[bool] = Counter()
    async with session(platform.database_url) as connection:
        while True:
            cursor = await connection.execute(_SETTLED)
            is_settled, waiting_for = await cursor.fetchone() or (False, [])
            waits.update(kind in ("Lock", "LWLock") for kind in waiting_for)
            if is_settled:
                return waits[True] / max(1, waits.total())
            for worker in workers:
                _check(worker, ends)
            await asyncio.sleep(_LOOK_SECONDS)


@asynccontextmanager
async def answering_itself(platform: Platform) -> AsyncIterator[None]:
    """Within the block each OrderCreated comes back as the reply to itself: a refusal, since it says nothing of a
    success. So a saga passes through the service and its servers only, and no other program limits its speed."""
    async with platform.broker() as channel:
        asked = await channel.declare_exchange("orders_exchange", "fanout", durable=True)
        replies = await channel.declare_exchange("stock_update_exchange", "fanout", durable=True)
        await replies.bind(asked)
        yield
        await replies.unbind(asked)


@asynccontextmanager
async def sink(platform: Platform) -> AsyncIterator[None]:
    """Within the block somebody takes every event: a queue that keeps the last ones only."""
    async with platform.broker() as channel:
        events = await channel.declare_exchange("order.events", "topic", durable=True)
        queue = await channel.declare_queue("growth.sink", durable=True, arguments={"x-max-length": 1_000})
        await queue.bind(events, "#")
        yield
        await channel.queue_delete("growth.sink")


def _figure(stopwatch: Stopwatch, marks: Sequence[Mark], count: int) -> Figure:
    read = stopwatch.read()
    rate = count / read["seconds"]
    with suppress(ValueError):
        # So few that they were done between two looks have no middle.
        rate = middle_rate(marks)
    return figure(rate, count, read["cpu_seconds"])


def _confirmed(relay: Running) -> float:
    return relay.metric("order_service_relay_messages_total", result="confirmed")


def _check(worker: Running, ends: float) -> None:
    worker.check_runs()
    if time.monotonic() > ends:
        raise AssertionError(f"not within {_BOUND_SECONDS:.0f} s; the worker's log is {worker.log}")
