"""Orders at a steady pace, each timed from when it was due to be sent until its `order.confirmed` came from the broker.

`python -m tests.bench.paced_sagas --target HOST:PORT --per-second 50 --seconds 10`, with RABBITMQ_URL: an open loop, a
process of its own with one clock for both ends. A call that fails, or an order that is not confirmed, ends it with a
traceback and exit code 1.
"""

import argparse
import asyncio
import json
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import aio_pika
import grpc
import uvloop
from aio_pika.abc import AbstractIncomingMessage

from order_service.pb import order_pb2_grpc
from tests.bench.orders import create_request
from tests.bench.rates import percentile
from tests.bench.stopwatch import Stopwatch, add_watch
from tests.waiting import eventually

QUEUE: Final = "bench.paced"
_WARM_UP_SECONDS: Final = 1.0
_BOUND_SECONDS: Final = 30.0


@dataclass(slots=True)
class Sagas:
    """When each order was due, and when it was heard to be confirmed."""

    due: dict[str, float] = field(default_factory=dict)
    confirmed: dict[str, float] = field(default_factory=dict)

    async def hear(self, message: AbstractIncomingMessage) -> None:
        """Called by aio-pika for each order.confirmed."""
        now = time.monotonic()
        self.confirmed.setdefault(json.loads(message.body)["order_id"], now)
        await message.ack()

    async def place(self, stub: Any, number: int, due: float) -> None:
        """Sends an order when it is due, whatever has become of those before."""
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        answer = await stub.CreateOrder(create_request(number), timeout=_BOUND_SECONDS)
        self.due[answer.order.id] = due

    async def all_confirmed(self) -> None:
        """Returns when they are. Raises AssertionError if one is not in time."""
        await eventually(lambda: self.due.keys() <= self.confirmed.keys(), _BOUND_SECONDS)

    def took(self, since: float) -> list[float]:
        """Seconds, of those that were due since then."""
        return [self.confirmed[order_id] - due for order_id, due in self.due.items() if due >= since]


async def measure(options: argparse.Namespace) -> dict[str, object]:
    """Percentiles in seconds."""
    sagas = Sagas()
    async with _hearing(sagas), grpc.aio.insecure_channel(options.target) as channel:
        stub = order_pb2_grpc.OrderServiceStub(channel)
        begins = time.monotonic() + 0.1
        stopwatch = Stopwatch({"load": os.getpid(), **dict(options.watch)})
        async with asyncio.TaskGroup() as tasks:
            for number in range(round((_WARM_UP_SECONDS + options.seconds) * options.per_second)):
                due = begins + number / options.per_second
                tasks.create_task(sagas.place(stub, number, due))
        await sagas.all_confirmed()
        spent = stopwatch.read()
    took = sagas.took(begins + _WARM_UP_SECONDS)
    shares = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
    percentiles = {name: percentile(took, share) for name, share in shares.items()}
    return {"count": len(sagas.due), **percentiles, "max": max(took), **spent}


@asynccontextmanager
async def _hearing(sagas: Sagas) -> AsyncIterator[None]:
    async with await aio_pika.connect(os.environ["RABBITMQ_URL"]) as connection, connection.channel() as channel:
        events = await channel.declare_exchange("order.events", "topic", durable=True)
        queue = await channel.declare_queue(QUEUE, durable=True)
        await queue.bind(events, "order.confirmed")
        await queue.consume(sagas.hear)
        yield


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.paced_sagas")
    parser.add_argument("--target", required=True, metavar="HOST:PORT")
    parser.add_argument("--per-second", type=float, required=True)
    parser.add_argument("--seconds", type=float, required=True, help="for how long, after one that is not counted")
    add_watch(parser)
    return parser


if __name__ == "__main__":
    print(json.dumps(uvloop.run(measure(_parser().parse_args()))))  # noqa: T201
