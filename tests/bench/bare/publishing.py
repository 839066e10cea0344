"""Publishes OrderCreated events with plain aio-pika, a window at a time: each window's confirms are awaited together.

`python -m tests.bench.bare.publishing --count 20000 --window 256`
"""

import argparse
import asyncio
import json
import os
import time
from collections.abc import Sequence
from uuid import UUID, uuid4

import aio_pika
import uvloop
from aio_pika.abc import AbstractExchange
from pamqp.commands import Basic

from tests.bench.events import EVENTS_EXCHANGE, created_body, event_message
from tests.bench.rates import Mark, middle_rate
from tests.bench.stopwatch import Stopwatch, add_watch


async def publish_window(exchange: AbstractExchange, window: Sequence[tuple[UUID, bytes]]) -> None:
    """Returns once the broker has confirmed all of them; raises if it does not or gives one back."""
    confirmed = await asyncio.gather(
        *(exchange.publish(event_message(order_id, body), "order.created", mandatory=True) for order_id, body in window)
    )
    wrong = [answer for answer in confirmed if not isinstance(answer, Basic.Ack)]
    if wrong:
        raise RuntimeError(f"{len(wrong)} of {len(window)} messages were not taken: {wrong[0]!r}")


async def measure(options: argparse.Namespace) -> dict[str, object]:
    """Publishes all and tells the rate."""
    ids = [uuid4() for _ in range(options.count)]
    events = [(order_id, created_body(order_id)) for order_id in ids]
    async with await aio_pika.connect(os.environ["RABBITMQ_URL"]) as connection, connection.channel() as channel:
        exchange = await channel.declare_exchange(EVENTS_EXCHANGE, "topic", durable=True)
        marks: list[Mark] = []
        stopwatch = Stopwatch({"limit": os.getpid(), **dict(options.watch)})
        for start in range(0, len(events), options.window):
            window = events[start : start + options.window]
            await publish_window(exchange, window)
            marks.append((time.monotonic(), len(window)))
        return {"rate": middle_rate(marks), "count": options.count, **stopwatch.read()}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.bare.publishing")
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--window", type=int, required=True)
    add_watch(parser)
    return parser


if __name__ == "__main__":
    print(json.dumps(uvloop.run(measure(_parser().parse_args()))))  # noqa: T201
