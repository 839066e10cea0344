"""Group commit: what arrives while a batch is under way goes into the next one."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from typing import Final, Generic, TypeVar

from order_service.domain.errors import ServiceUnavailable

Item = TypeVar("Item")
Result = TypeVar("Result")

_MANY: Final = 5
"""Fewer callers than these are waited for only for their share of the time."""
_DECAY: Final = 0.9
"""A batch that finds fewer callers than before forgets so slowly how many there were."""


class Overloaded(ServiceUnavailable):
    """More is waiting than can be worked off soon: come back later."""


class Batcher(Generic[Item, Result]):
    """Gathers single items into batches of up to `largest`.

    An item that arrives when nothing is under way starts at once. Further batches, up to `at_once`, start beside one
    that is under way only when they are full: two half-empty transactions cost twice what one costs. For the same
    reason, if others wait already when a batch ends that was not full, the next one lets those who have just been
    answered ask again: it begins once as many wait as were seen together lately, and after `gathering` seconds anyway.

    `carry_out` gives one result for each item, in their order; if it raises, each item of the batch gets that error.
    Raises Overloaded when `most_waiting` items wait.
    """

    def __init__(
        self,
        carry_out: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]],
        largest: int,
        at_once: int,
        most_waiting: int,
        gathering: float = 0.0,
    ) -> None:
        self._carry_out = carry_out
        self._largest = largest
        self._at_once = at_once
        self._most_waiting = most_waiting
        self._gathering = gathering
        self._waiting: deque[tuple[Item, asyncio.Future[Result]]] = deque()
        self._together = 0.0
        self._enough = asyncio.Event()
        self._under_way = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def submit(self, item: Item) -> Result:
        """The item's result. Cancelling the caller does not stop a batch that has started."""
        return await self._enqueue(item)

    async def submit_all(self, items: Iterable[Item]) -> list[Result | BaseException]:
        """The result or the error of each of several items, which may share batches with others'."""
        return await asyncio.gather(*[self._enqueue_or_fail(item) for item in items], return_exceptions=True)

    def _enqueue_or_fail(self, item: Item) -> asyncio.Future[Result]:
        try:
            return self._enqueue(item)
        except Overloaded as error:
            failed: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
            failed.set_exception(error)
            return failed

    def _enqueue(self, item: Item) -> asyncio.Future[Result]:
        if len(self._waiting) >= self._most_waiting:
            raise Overloaded("too many requests are waiting")
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if len(self._waiting) >= self._together:
            self._enough.set()
        if not self._under_way or (len(self._waiting) >= self._largest and self._under_way < self._at_once):
            self._under_way += 1
            task = asyncio.create_task(self._work_off())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return future

    async def _work_off(self) -> None:
        """Works until nothing waits; from that moment on, without a step between, it no longer counts as under way."""
        try:
            while batch := self._take():
                await self._answer(batch)
                if self._waiting and len(batch) < self._largest:
                    await self._gather(len(batch))
        finally:
            self._under_way -= 1

    async def _gather(self, answered: int) -> None:
        """Waits for those who have just been answered, as long as it is worth it."""
        present = answered + len(self._waiting)
        self._together = min(max(present, self._together * _DECAY), self._largest)
        seconds = self._gathering * min(1.0, answered / _MANY)
        if not seconds or len(self._waiting) >= self._together:
            return
        self._enough.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._enough.wait()

    async def _answer(self, batch: Sequence[tuple[Item, asyncio.Future[Result]]]) -> None:
        """Whatever happens, nobody who waits for an item of the batch goes on waiting."""
        try:
            results = await self._carry_out([item for item, _ in batch])
            for (_, future), result in zip(batch, results, strict=True):
                if not future.done():
                    future.set_result(result)
        except Exception as error:
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
        finally:
            for _, future in batch:
                if not future.done():
                    future.set_exception(ServiceUnavailable("the batch was cancelled"))

    def _take(self) -> list[tuple[Item, asyncio.Future[Result]]]:
        """The next batch, without those whose caller has gone before they started."""
        batch: list[tuple[Item, asyncio.Future[Result]]] = []
        while self._waiting and len(batch) < self._largest:
            item, future = self._waiting.popleft()
            if not future.done():
                batch.append((item, future))
        return batch
