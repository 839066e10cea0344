"""The parts of a saga by themselves, one after the other: what PostgreSQL and RabbitMQ take when nothing waits.

`python -m tests.bench.bare.parts --per-second 50 --seconds 10 --queue a --queue b`: at that pace, one statement commits
the rows of an order, and to each queue a message is published, whose confirm and whose delivery are timed, both from
the start of the publishing.
"""

import argparse
import asyncio
import json
import os
import time
from typing import Any, Final
from uuid import UUID, uuid4

import aio_pika
import psycopg
import uvloop
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage
from pamqp.commands import Basic

from tests.bench.events import created_body, event_message
from tests.bench.rates import percentile

_COMMIT: Final = """
    with orders as (
        insert into order_service.orders
            (order_id, user_id, currency, total_minor, status, version, created_at, updated_at)
        values (%(order_id)s, 'bench', 'USD', 4547, 'PENDING', 1, now(), now())
    ), items as (
        insert into order_service.order_items (order_id, line, product_id, quantity, unit_price_minor)
        values (%(order_id)s, 1, 'product-000000', 2, 1999), (%(order_id)s, 2, 'product-000001', 1, 549)
    ), saga as (
        insert into order_service.sagas (order_id, state, steps, asked_at, deadline_at, started_at)
        values (%(order_id)s, 'RUNNING', '{"stock": "ASKED"}', now(), now() + interval '1 minute', now())
    ), history as (
        insert into order_service.order_events
            (order_id, version, event_id, user_id, type, status, occurred_at, payload)
        values (%(order_id)s, 1, %(order_id)s, 'bench', 'order.created', 'PENDING', now(), %(payload)s)
    )
    insert into order_service.outbox (order_id, version, bucket, event_id, type, occurred_at, payload)
    values (%(order_id)s, 1, 0, %(order_id)s, 'order.created', now(), %(payload)s)
"""
_WARM_UP: Final = 25
_BOUND_SECONDS: Final = 10.0


class Parts:
    """Does each part and notes how long it took, in seconds."""

    def __init__(self, connection: "psycopg.AsyncConnection[Any]", channel: AbstractChannel) -> None:
        self._connection = connection
        self._channel = channel
        self._delivered: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self.took: dict[str, list[float]] = {}

    async def listen(self, queue: str) -> None:
        """Hears what comes through a queue."""
        await (await self._channel.get_queue(queue)).consume(self._hear)

    async def commit(self, order_id: UUID, body: bytes) -> None:
        """An order's rows, on disk."""
        began = time.perf_counter()
        values = {"order_id": order_id, "payload": body.decode()}
        await self._connection.execute(_COMMIT, values, prepare=True)
        self._note("commit", time.perf_counter() - began)

    async def send(self, place: int, queue: str, order_id: UUID, body: bytes) -> None:
        """A message, confirmed and delivered."""
        self._delivered = asyncio.get_running_loop().create_future()
        began = time.perf_counter()
        answer = await self._channel.default_exchange.publish(event_message(order_id, body), queue, mandatory=True)
        self._note(f"confirm_{place}", time.perf_counter() - began)
        if not isinstance(answer, Basic.Ack):
            raise RuntimeError(f"the broker did not take a message: {answer!r}")
        async with asyncio.timeout(_BOUND_SECONDS):
            self._note(f"delivery_{place}", await self._delivered - began)

    async def _hear(self, message: AbstractIncomingMessage) -> None:
        self._delivered.set_result(time.perf_counter())
        await message.ack()

    def _note(self, part: str, seconds: float) -> None:
        self.took.setdefault(part, []).append(seconds)


async def measure(options: argparse.Namespace) -> dict[str, float]:
    """The median of each part, and their sum, in seconds."""
    async with (
        await psycopg.AsyncConnection.connect(os.environ["DATABASE_URL"], autocommit=True) as database,
        await aio_pika.connect(os.environ["RABBITMQ_URL"]) as connection,
        connection.channel() as channel,
    ):
        parts = Parts(database, channel)
        for queue in options.queue:
            await parts.listen(queue)
        await _at_pace(options, parts)
    medians = {part: percentile(took[_WARM_UP:], 0.5) for part, took in parts.took.items()}
    return {"sum": sum(medians.values()), **medians}


async def _at_pace(options: argparse.Namespace, parts: Parts) -> None:
    begins = time.perf_counter()
    for number in range(_WARM_UP + round(options.per_second * options.seconds)):
        await asyncio.sleep(max(0.0, begins + number / options.per_second - time.perf_counter()))
        order_id = uuid4()
        body = created_body(order_id)
        await parts.commit(order_id, body)
        for place, queue in enumerate(options.queue, 1):
            await parts.send(place, queue, order_id, body)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.bare.parts")
    parser.add_argument("--per-second", type=float, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--queue", action="append", required=True, help="a durable queue that is there and empty")
    return parser


if __name__ == "__main__":
    print(json.dumps(uvloop.run(measure(_parser().parse_args()))))  # noqa: T201
