"""Many orders at once, and what must hold for the events that come of them."""

import asyncio
import itertools
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from aio_pika.abc import AbstractIncomingMessage

from order_service.pb import order_pb2, order_pb2_grpc
from tests.integration.calls import an_item, an_order

AT_ONCE = 8
"""So many calls are under way at a time."""

PATIENCE_SECONDS = 100.0
"""An order that is not acknowledged for so long, however often it is asked for, never is: more than one whole call."""


@dataclass(slots=True)
class Load:
    """Orders of one user, each asked for again under its request_id until it is acknowledged."""

    stub: Any
    user: str
    per_second: float = 200.0
    acknowledged: dict[str, str] = field(default_factory=dict)
    """The order's id for each request_id."""
    failures: Counter[grpc.StatusCode] = field(default_factory=Counter)
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    async def place(self, count: int) -> None:
        """Places so many more orders; returns when all are acknowledged."""
        await self._work_off(itertools.islice(self._numbers, count))

    @asynccontextmanager
    async def placing(self) -> AsyncIterator[None]:
        """Places orders for as long as the block lasts; what is under way then is asked for until it is answered.

        No call is cancelled, unless the block fails: the server would count that as a failure of its own.
        """
        going = True
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._work_off(itertools.takewhile(lambda _: going, self._numbers)))
            yield
            going = False

    async def _work_off(self, numbers: Iterator[int]) -> None:
        async def one_after_another() -> None:
            for number in numbers:
                await self._ask(number)
                await asyncio.sleep(AT_ONCE / self.per_second)

        await asyncio.gather(*[one_after_another() for _ in range(AT_ONCE)])

    async def _ask(self, number: int) -> None:
        request_id = f"request-{number}"
        item = an_item(f"product-{number % 7}", 1 + number % 3, number / 10)
        request = an_order(self.user, item, request_id=request_id)
        ends = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                answer: order_pb2.CreateOrderResponse = await self.stub.CreateOrder(request, timeout=60)
            except grpc.aio.AioRpcError as error:
                self.failures[error.code()] += 1
                if time.monotonic() > ends:
                    raise AssertionError(f"{request_id} not within {PATIENCE_SECONDS} s: {self.failures}") from error
                await asyncio.sleep(0.02)
            else:
                self.acknowledged[request_id] = answer.order.id
                return


@asynccontextmanager
async def patient_gateway(port: int) -> AsyncIterator[Any]:
    """A stub for a server that comes and goes: tries to connect again soon, however often it fails."""
    options = (("grpc.initial_reconnect_backoff_ms", 50), ("grpc.max_reconnect_backoff_ms", 200))
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
        yield order_pb2_grpc.OrderServiceStub(channel)


@dataclass(frozen=True, slots=True)
class Sent:
    """Events as they came over the wire, repeats included."""

    messages: tuple[AbstractIncomingMessage, ...]

    @property
    def repeats(self) -> int:
        """How many messages came under an id that had come before."""
        return len(self.messages) - len({message.message_id for message in self.messages})

    def histories(self) -> dict[str, list[tuple[int, str]]]:
        """Version and type of each order's events in the order in which they came first."""
        seen: set[str | None] = set()
        histories: dict[str, list[tuple[int, str]]] = {}
        for message in self.messages:
            if message.message_id not in seen:
                seen.add(message.message_id)
                body = json.loads(message.body)
                histories.setdefault(body["order_id"], []).append((body["version"], message.type or ""))
        return histories

    def assert_in_version_order(self) -> None:
        """Each order's events came first in version order, without gaps, each version under one id."""
        for order_id, history in self.histories().items():
            versions = [version for version, _ in history]
            assert versions == list(range(1, len(versions) + 1)), (order_id, history)

    def outcomes(self) -> Counter[str]:
        """How many orders ended with which event."""
        return Counter(history[-1][1] for history in self.histories().values())

    def are_settled(self) -> bool:
        """Whether each order has an outcome."""
        return "order.created" not in self.outcomes()
