"""The rows of the worker's two ends: events out to the broker, replies in from it, beside plain aio-pika."""

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from aio_pika.abc import AbstractChannel, AbstractExchange, AbstractQueue
from psycopg.sql import SQL, Identifier

from tests.bench import fill
from tests.bench.api_processes import Site
from tests.bench.events import EVENTS_EXCHANGE
from tests.bench.measured import SECONDS, Figure, Pair, Row, Tell
from tests.bench.processes import run_to_end, watch_arguments
from tests.bench.rates import middle_rate
from tests.bench.stopwatch import Stopwatch, figure
from tests.integration.platform import Platform, Servers
from tests.integration.storage_fixtures import session
from tests.waiting import eventually

EVENTS_A_SECOND: Final = 5_000
REPLIES_A_SECOND: Final = 3_000
"""So many lie ready for each second that a round should take."""

_WINDOW: Final = 256
_PREFETCH: Final = 256
"""What the service has by default."""

_KEPT: Final = 10_000
_REPLIES: Final = "order_service.stock_update_results"
_LIMIT_REPLIES: Final = "bench.replies"
_LOOK_SECONDS: Final = 0.1
_BOUND_SECONDS: Final = 180.0

_CONFIRMATIONS: Final = """
    select extract(epoch from confirmed_at)::double precision, count(*)
    from order_service.event_confirmations group by confirmed_at order by confirmed_at
"""
_RECEIVED: Final = """
    select extract(epoch from received_at)::double precision, count(*)
    from order_service.inbox group by received_at order by received_at
"""


@asynccontextmanager
async def relay(servers: Servers, folder: Path, tell: Tell) -> AsyncIterator[Pair]:
    """Both publish to the service's exchange, to which one queue is bound that keeps the last messages only."""
    count = round(EVENTS_A_SECOND * SECONDS.get())
    with Platform.make(servers, folder) as platform:
        site = await Site.of(platform)
        async with platform.broker() as channel:
            queue = await _listening(channel)

            async def limit() -> Figure:
                await queue.purge()
                tell(f"aio-pika publishes {count:,} events")
                return await _bare(site, "publishing", "--count", str(count), "--window", str(_WINDOW))

            async def service() -> Figure:
                await queue.purge()
                tell(f"{count:,} events are put into the outbox")
                site.empty()
                await fill.make_events(platform, count)
                tell(f"a relay publishes {count:,} events")
                return await _relayed(site, count)

            yield Pair(limit=limit, service=service)


async def _listening(channel: AbstractChannel) -> AbstractQueue:
    events = await channel.declare_exchange(EVENTS_EXCHANGE, "topic", durable=True)
    queue = await channel.declare_queue("bench.events", durable=True, arguments={"x-max-length": _KEPT})
    await queue.bind(events, "#")
    return queue


async def _relayed(site: Site, count: int) -> Figure:
    """The events that were confirmed by the broker and marked so, by the database's clock."""
    watched, spent = await _worked_off(site, "relay", "event_confirmations", count)
    marks = await site.platform.query(_CONFIRMATIONS)
    confirmed = sum(number for _, number in marks)
    if confirmed != count:
        raise AssertionError(f"{confirmed:,} of {count:,} events were confirmed and marked")
    return _figure(marks, watched, spent)


@dataclass(frozen=True, slots=True)
class ReplyQueues:
    """Where the limit's replies lie: two queues of the service's kind, which an exchange fills at once."""

    exchange: AbstractExchange
    each: AbstractQueue
    multiple: AbstractQueue

    @classmethod
    async def like(cls, channel: AbstractChannel, arguments: dict[str, Any]) -> "ReplyQueues":
        """With the arguments that the service's own queue has."""
        exchange = await channel.declare_exchange(_LIMIT_REPLIES, "fanout", durable=True)
        queues = [
            await channel.declare_queue(f"{_LIMIT_REPLIES}.{ack}", durable=True, arguments=arguments)
            for ack in ("each", "multiple")
        ]
        for queue in queues:
            await queue.bind(exchange)
        return cls(exchange, *queues)


@asynccontextmanager
async def consumer(servers: Servers, folder: Path, tell: Tell) -> AsyncIterator[Pair]:
    """Both consume a queue that holds replies already. The service's is its own, so it is the one that declares it."""
    count = round(REPLIES_A_SECOND * SECONDS.get())
    with Platform.make(servers, folder) as platform:
        site = await Site.of(platform)
        await asyncio.to_thread((await platform.start_worker("--only", "consumer")).stop)
        own = platform.management.queue(_REPLIES)
        if own is None:
            raise AssertionError(f"the service has declared no queue {_REPLIES}")
        async with platform.broker() as channel:
            queues = await ReplyQueues.like(channel, own["arguments"])
            replies = await channel.get_exchange("stock_update_exchange")

            async def limit() -> Figure:
                tell(f"{count:,} replies are put into two queues")
                await fill.publish_all(queues.exchange, (fill.success(uuid4()) for _ in range(count)))
                tell(f"aio-pika consumes {count:,} replies twice")
                return await _consumed_barely(site, count)

            async def service() -> Figure:
                tell(f"{count:,} orders wait for their reply")
                site.empty()
                ids = await fill.make_waiting(platform, count)
                await fill.publish_all(replies, map(fill.success, ids))
                tell(f"a consumer applies {count:,} replies")
                return await _consumed(site, count)

            yield Pair(limit=limit, service=service)


async def _consumed_barely(site: Site, count: int) -> Figure:
    """The better of both ways to acknowledge."""
    both = {
        ack: await _bare(
            site,
            "consuming",
            *("--queue", f"{_LIMIT_REPLIES}.{ack}", "--ack", ack),
            *("--count", str(count), "--prefetch", str(_PREFETCH)),
        )
        for ack in ("each", "multiple")
    }
    better = max(both.values(), key=lambda one: one.value)
    return Figure(better.value, better.cpu_us, {f"acknowledged_{ack}": one.value for ack, one in both.items()})


async def _consumed(site: Site, count: int) -> Figure:
    """The replies whose outcome was committed, by the database's clock."""
    watched, spent = await _worked_off(site, "consumer", "inbox", count)
    [(confirmed,)] = await site.platform.query("select count(*) from order_service.orders where status = 'CONFIRMED'")
    if confirmed != count:
        raise AssertionError(f"{confirmed:,} of {count:,} orders were confirmed")
    return _figure(await site.platform.query(_RECEIVED), watched, spent)


async def _worked_off(site: Site, part: str, table: str, count: int) -> tuple[int, Mapping[str, float]]:
    """A part of the worker runs until `table` has `count` rows. How many of them came while CPU time was taken, and
    what was. It is looked at rarely, and over one connection: a new one for each look costs PostgreSQL and this process
    more than the look does, and all of that is taken from the side that is looked at."""
    platform = site.platform
    worker = platform.spawn("worker", "--only", part)
    async with session(platform.database_url) as connection:
        query = SQL("select count(*) from {}").format(Identifier("order_service", table))

        async def done() -> int:
            worker.check_runs()
            [(rows,)] = await (await connection.execute(query)).fetchall()
            return int(rows)

        async def all_done() -> bool:
            return await done() >= count

        before = await eventually(done, 30, _LOOK_SECONDS)
        stopwatch = Stopwatch({"service": worker.process.pid, **site.watched})
        await eventually(all_done, _BOUND_SECONDS, _LOOK_SECONDS)
        spent = stopwatch.read()["cpu_seconds"]
    await asyncio.to_thread(worker.stop)
    return count - before, spent


def _figure(marks: Sequence[tuple[Any, ...]], watched: int, spent: Mapping[str, float]) -> Figure:
    """`watched` is how many were done while CPU time was taken; if none was, that is left out."""
    rate = middle_rate([(at, number) for at, number in marks])
    return figure(rate, watched, spent) if watched > 0 else Figure(rate)


async def _bare(site: Site, module: str, *arguments: str) -> Figure:
    """What one of the limits measured."""
    command = [sys.executable, "-m", f"tests.bench.bare.{module}", *arguments, *watch_arguments(site.watched)]
    log = site.platform.folder / f"bare-{module}.log"
    ended = await run_to_end(module, command, log, _BOUND_SECONDS, RABBITMQ_URL=site.platform.rabbitmq_url)
    result = ended.result()
    return figure(result["rate"], result["count"], result["cpu_seconds"])


ROWS: Final[Sequence[Row]] = (
    Row(
        name="relay",
        unit="events/s",
        service="`worker --only relay` empties an outbox: read, published, confirmed by the broker, marked as sent",
        limit=f"bare aio-pika publishes the same messages, {_WINDOW} at once, and awaits their confirms",
        opened=relay,
        at_least=0.8,
    ),
    Row(
        name="consumer",
        unit="replies/s",
        service="`worker --only consumer` applies replies: each order confirmed and its event stored, committed, acked",
        limit="bare aio-pika consumes the same messages and acks each, or many at once, whichever is faster",
        opened=consumer,
        at_least=0.6,
    ),
)
