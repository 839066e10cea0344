"""Group commit: what arrives while a batch is under way goes into the next one."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Generic, TypeVar

from order_service.domain.errors import ServiceUnavailable

Item = TypeVar("Item")
Result = TypeVar("Result")


class Overloaded(ServiceUnavailable):
    """More is waiting than can be worked off soon: come back later."""


class Batcher(Generic[Item, Result]):
    """Gathers single items into batches of up to `largest`, with at most `at_once` batches under way.

    An item that arrives when nothing is under way starts at once. `carry_out` gives one result for each item, in their
    order; if it raises, each item of the batch gets that error. Raises Overloaded when `most_waiting` items wait.
    """

    def __init__(
        self,
        carry_out: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]],
        largest: int,
        at_once: int,
        most_waiting: int,
    ) -> None:
        self._carry_out = carry_out
        self._largest = largest
        self._at_once = at_once
        self._most_waiting = most_waiting
        self._waiting: deque[tuple[Item, asyncio.Future[Result]]] = deque()
        self._under_way: set[asyncio.Task[None]] = set()

    async def submit(self, item: Item) -> Result:
        """The item's result. Cancelling the caller does not stop a batch that has started."""
        return await self._enqueue(item)

    async def submit_all(self, items: Iterable[Item]) -> list[Result]:
        """The results of several items, which may share batches with others'."""
        return await asyncio.gather(*[self._enqueue(item) for item in items])

    def _enqueue(self, item: Item) -> asyncio.Future[Result]:
        if len(self._waiting) >= self._most_waiting:
            raise Overloaded("too many requests are waiting")
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if len(self._under_way) < self._at_once:
            task = asyncio.create_task(self._work_off())
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)
        return future

    async def _work_off(self) -> None:
        while batch := self._take():
            try:
                results = await self._carry_out([item for item, _ in batch])
            except Exception as error:
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
            else:
                for (_, future), result in zip(batch, results, strict=True):
                    if not future.done():
                        future.set_result(result)

    def _take(self) -> list[tuple[Item, asyncio.Future[Result]]]:
        """The next batch, without those whose caller has gone before they started."""
        batch: list[tuple[Item, asyncio.Future[Result]]] = []
        while self._waiting and len(batch) < self._largest:
            item, future = self._waiting.popleft()
            if not future.done():
                batch.append((item, future))
        return batch
