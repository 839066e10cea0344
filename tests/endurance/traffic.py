"""Calls from a process of its own, as gateways make them: plain stubs, no retries, so many a second come what may.

`python -m tests.endurance.traffic` reads what to do from standard input (one line of JSON, see `Traffic`), works until
standard input ends, and then prints one line of JSON: `Seen`.
"""

import asyncio
import itertools
import json
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import grpc

from order_service.pb import order_pb2, order_pb2_grpc
from tests.integration.calls import an_item, an_order

_OPTIONS = (
    ("grpc.use_local_subchannel_pool", 1),
    # A server that stops is back after a second: without these a client would try again later and later.
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 200),
)


@dataclass(frozen=True, slots=True)
class Traffic:
    """Where to, and how much: `per_second` CreateOrders in all, at most `at_once` under way on each channel, and for
    each channel `watches` WatchOrders at a time."""

    port: int
    user: str
    per_second: float
    channels: int = 1
    at_once: int = 8
    watches: int = 0


@dataclass(frozen=True, slots=True)
class Seen:
    """What came of it: codes of CreateOrder and of WatchOrder, the orders that were answered, and the seconds of each
    answer."""

    creates: dict[str, int] = field(default_factory=Counter)
    watches: dict[str, int] = field(default_factory=Counter)
    details: dict[str, int] = field(default_factory=Counter)
    """The texts of failures other than UNAVAILABLE."""
    acknowledged: list[str] = field(default_factory=list)
    answered_at: list[tuple[float, float]] = field(default_factory=list)
    """When each call was answered OK, by the wall clock, and after how many seconds."""


class Gateway:
    """One channel and what goes over it."""

    def __init__(self, stub: Any, traffic: Traffic, seen: Seen, numbers: Iterator[int]) -> None:
        self._stub = stub
        self._traffic = traffic
        self._seen = seen
        self._numbers = numbers

    async def create_until(self, ended: asyncio.Event) -> None:
        """One call after another; a slow one does not make the next one late."""
        pause = self._traffic.channels * self._traffic.at_once / self._traffic.per_second
        next_at = time.monotonic()
        while not ended.is_set():
            await self._create(next(self._numbers))
            next_at = max(next_at + pause, time.monotonic() - 1)
            await asyncio.sleep(max(0.0, next_at - time.monotonic()))

    async def watch(self) -> None:
        """Watches the newest order that was acknowledged, over and over until it is cancelled."""
        while True:
            await asyncio.sleep(0.02)
            if not self._seen.acknowledged:
                continue
            request = order_pb2.WatchOrderRequest(order_id=self._seen.acknowledged[-1], user_id=self._traffic.user)
            try:
                async for _ in self._stub.WatchOrder(request):
                    pass
            except grpc.aio.AioRpcError as error:
                self._count(self._seen.watches, error)
            else:
                self._seen.watches["OK"] += 1

    async def _create(self, number: int) -> None:
        request = an_order(
            self._traffic.user, an_item(f"product-{number % 97}", 1 + number % 3), request_id=f"request-{number}"
        )
        began = time.monotonic()
        try:
            answer: order_pb2.CreateOrderResponse = await self._stub.CreateOrder(request)
        except grpc.aio.AioRpcError as error:
            self._count(self._seen.creates, error)
        else:
            self._seen.creates["OK"] += 1
            self._seen.acknowledged.append(answer.order.id)
            self._seen.answered_at.append((time.time(), time.monotonic() - began))

    def _count(self, codes: dict[str, int], error: grpc.aio.AioRpcError) -> None:
        codes[error.code().name] += 1
        if error.code() is not grpc.StatusCode.UNAVAILABLE:
            self._seen.details[f"{error.code().name}: {error.details()}"] += 1


async def make(traffic: Traffic, ended: asyncio.Event) -> Seen:
    """Makes calls until `ended` is set; each CreateOrder that was under way then is waited for."""
    seen, numbers = Seen(), itertools.count()
    async with AsyncExitStack() as stack:
        gateways = []
        for _ in range(traffic.channels):
            address = f"127.0.0.1:{traffic.port}"
            channel = await stack.enter_async_context(grpc.aio.insecure_channel(address, options=_OPTIONS))
            gateways.append(Gateway(order_pb2_grpc.OrderServiceStub(channel), traffic, seen, numbers))
        watching = [asyncio.create_task(one.watch()) for one in gateways for _ in range(traffic.watches)]
        await asyncio.gather(*[one.create_until(ended) for one in gateways for _ in range(traffic.at_once)])
        for task in watching:
            task.cancel()
        await asyncio.gather(*watching, return_exceptions=True)
    return seen


@asynccontextmanager
async def flowing(traffic: Traffic) -> AsyncIterator[list[Seen]]:
    """Traffic from another process for as long as the block lasts; after it the list holds what was seen."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.endurance.traffic",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(asdict(traffic)).encode() + b"\n")
    await process.stdin.drain()
    seen: list[Seen] = []
    try:
        yield seen
    finally:
        output, _ = await process.communicate(b"")
    seen.append(Seen(**json.loads(output)))


async def main() -> None:
    """Standard input and output: see the module."""
    traffic = Traffic(**json.loads(sys.stdin.readline()))
    ended = asyncio.Event()
    reading = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    reading.add_done_callback(lambda _: ended.set())
    seen = await make(traffic, ended)
    sys.stdout.write(json.dumps({one.name: getattr(seen, one.name) for one in fields(seen)}))


if __name__ == "__main__":
    asyncio.run(main())
