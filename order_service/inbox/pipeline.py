"""Keeps batches of one queue under way, so that one is made ready while PostgreSQL is at work on another."""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Final

from order_service.broker.consumer import Consumer, Incoming
from order_service.domain.errors import BrokerUnavailable

AT_ONCE: Final = 2
"""Batches under way at a time, from when they are taken until they are acknowledged."""

AHEAD: Final = AT_ONCE + 1
"""Batches that the broker delivers before one is acknowledged: the next one comes while the others are handled."""

Handle = Callable[[Sequence[Incoming], asyncio.Event], Coroutine[Any, Any, bool]]
"""Handles a batch; false if the event was set before that was done."""


@dataclass(frozen=True, slots=True)
class _UnderWay:
    """A batch that was taken and is not acknowledged."""

    messages: Sequence[Incoming]
    handling: "asyncio.Task[bool]"


class Pipeline:
    """Takes batches of at most `limit` messages and acknowledges them in the order in which they were taken, as an
    acknowledgement counts for all before it. A batch that is not full waits until none is under way: by then it has
    grown, so that a queue which is worked off as it fills costs no more transactions than with one batch at a time."""

    def __init__(self, consumer: Consumer, limit: int, handle: Handle) -> None:
        self._consumer = consumer
        self._limit = limit
        self._handle = handle
        self._under_way: deque[_UnderWay] = deque()
        self._ending = asyncio.Event()

    async def run(self, stopping: asyncio.Event) -> None:
        """Takes batches until `stopping` is set, and returns when those under way have ended. Raises BrokerUnavailable,
        when they have ended as well: what is not acknowledged comes again. Raises what `handle` raises, at once."""
        try:
            await self._take(stopping)
            self._ending.set()
            while self._under_way and await self._acknowledge_oldest():
                pass
            await self._others_end()
        except BrokerUnavailable:
            self._ending.set()
            await self._others_end()
            raise
        finally:
            await _cancelled(*(batch.handling for batch in self._under_way))

    async def _take(self, stopping: asyncio.Event) -> None:
        stop = asyncio.create_task(stopping.wait())
        try:
            while not stopping.is_set():
                await self._take_one(stop)
                while self._under_way and self._under_way[0].handling.done():
                    await self._acknowledge_oldest()
        finally:
            await _cancelled(stop)

    async def _take_one(self, stop: "asyncio.Task[Any]") -> None:
        """Begins the next batch if there is room for it; gives up waiting for it when one under way ends, or `stop`."""
        handling = [batch.handling for batch in self._under_way if not batch.handling.done()]
        if len(self._under_way) == AT_ONCE:
            await _first_of(stop, *handling)
        else:
            coming = asyncio.create_task(self._next_batch())
            try:
                await _first_of(stop, coming, *handling)
                if coming.done():
                    self._begin(coming.result())
            finally:
                await _cancelled(coming)
        for task in handling:
            if task.done():
                task.result()

    async def _next_batch(self) -> Sequence[Incoming]:
        return await self._consumer.next_batch(self._limit, at_least=self._limit if self._under_way else 1)

    def _begin(self, messages: Sequence[Incoming]) -> None:
        self._under_way.append(_UnderWay(messages, asyncio.create_task(self._handle(messages, self._ending))))

    async def _acknowledge_oldest(self) -> bool:
        """Once it is handled. If it was given up, neither it is acknowledged nor may any after it be: then false."""
        oldest = self._under_way[0]
        if not await oldest.handling:
            return False
        self._under_way.popleft()
        await self._consumer.acknowledge(oldest.messages)
        return True

    async def _others_end(self) -> None:
        await asyncio.gather(*(batch.handling for batch in self._under_way))


async def _first_of(*tasks: "asyncio.Task[Any]") -> None:
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)


async def _cancelled(*tasks: "asyncio.Task[Any]") -> None:
    """Cancels tasks and waits until they have ended."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
