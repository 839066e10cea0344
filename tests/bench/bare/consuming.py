"""Consumes a queue with plain aio-pika and acknowledges: each message by itself, or many at once.

`python -m tests.bench.bare.consuming --queue NAME --count 12000 --prefetch 256 --ack each`
"""

import argparse
import asyncio
import json
import os
import time

import aio_pika
import uvloop
from aio_pika.abc import AbstractIncomingMessage

from tests.bench.rates import Mark, middle_rate
from tests.bench.stopwatch import Stopwatch, add_watch

_NOTED = 64
"""The time is noted after so many."""


class Counting:
    """Acknowledges every `at_once`th message and with it all before it, and the last; notes when."""

    def __init__(self, count: int, at_once: int) -> None:
        self._count = count
        self._at_once = at_once
        self._taken = self._noted = 0
        self.marks: list[Mark] = []
        self.ended = asyncio.Event()

    async def take(self, message: AbstractIncomingMessage) -> None:
        """Called by aio-pika for each message."""
        self._taken += 1
        last = self._taken == self._count
        if last or self._taken % self._at_once == 0:
            await message.ack(multiple=self._at_once > 1)
        if last or self._taken - self._noted >= _NOTED:
            self.marks.append((time.monotonic(), self._taken - self._noted))
            self._noted = self._taken
        if last:
            self.ended.set()


async def measure(options: argparse.Namespace) -> dict[str, object]:
    """Consumes as many as it was told and tells the rate."""
    at_once = {"each": 1, "multiple": max(1, options.prefetch // 2)}[options.ack]
    counting = Counting(options.count, at_once)
    async with await aio_pika.connect(os.environ["RABBITMQ_URL"]) as connection, connection.channel() as channel:
        await channel.set_qos(prefetch_count=options.prefetch)
        queue = await channel.get_queue(options.queue)
        stopwatch = Stopwatch({"limit": os.getpid(), **dict(options.watch)})
        await queue.consume(counting.take)
        async with asyncio.timeout(120):
            await counting.ended.wait()
        return {"rate": middle_rate(counting.marks), "count": options.count, **stopwatch.read()}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.bare.consuming")
    parser.add_argument("--queue", required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--prefetch", type=int, required=True)
    parser.add_argument("--ack", choices=("each", "multiple"), required=True)
    add_watch(parser)
    return parser


if __name__ == "__main__":
    print(json.dumps(uvloop.run(measure(_parser().parse_args()))))  # noqa: T201
