"""How background loops wait, back off, and are watched.

A loop is two functions: `run(stopping)` waits and repeats until `stopping` is set, `run_once()` does one round. A loop
that ends before it was asked to is a crash of the process, with a reason, never silence (`supervise`).
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any, Final

import structlog

from order_service.domain.errors import OrderServiceError, ServiceUnavailable
from order_service.telemetry.metrics import Metrics

log: Final = structlog.get_logger()

Run = Callable[[asyncio.Event], Coroutine[Any, Any, None]]

_BEGAN: Final = time.monotonic()
_TOO_SOON: Final = 0.1
"""A tick is left out that is nearer than this share of the time between two: a timer that fires a little early must not
find its own tick again."""


class LoopEnded(OrderServiceError):
    """A background loop ended although nobody asked it to. The process must end too."""


class Backoff:
    """Waits longer after each failure in a row, with full jitter (Brooker, "Exponential Backoff And Jitter")."""

    def __init__(self, first_seconds: float = 0.1, longest_seconds: float = 5.0) -> None:
        self._first = first_seconds
        self._longest = longest_seconds
        self._failures = 0

    def reset(self) -> None:
        """It worked again."""
        self._failures = 0

    async def wait(self, stopping: asyncio.Event) -> None:
        """Waits its time, or until `stopping` is set."""
        ceiling = min(self._longest, self._first * 2.0 ** min(self._failures, 16))
        self._failures += 1
        await wait_for_event(stopping, random.uniform(ceiling / 4, ceiling))


class Pace:
    """How long to wait between rounds: hardly at all while there is work, growing while there is none, until rounds
    fall on the ticks of `idle_seconds`."""

    def __init__(self, busy_seconds: float = 0.005, idle_seconds: float = 0.3) -> None:
        self._busy = busy_seconds
        self._idle = idle_seconds
        self._pause = busy_seconds

    def after(self, work_done: int) -> float:
        """Seconds to wait after a round that did so much."""
        self._pause = self._busy if work_done else min(self._idle, self._pause * 1.5)
        return self._pause if self._pause < self._idle else until_tick(self._idle)


def until_tick(seconds: float, clock: Callable[[], float] = time.monotonic) -> float:
    """How long to wait for the next multiple of `seconds` since the process began.

    So the loops of a process that has nothing to do wake together: each time that it wakes costs about as much as what
    one of them does then. Two processes do not wake together."""
    left = seconds - (clock() - _BEGAN) % seconds
    return left if left > seconds * _TOO_SOON else left + seconds


async def wait_for_event(event: asyncio.Event, seconds: float) -> bool:
    """Whether the event was set within the time."""
    try:
        async with asyncio.timeout(seconds):
            return await event.wait()
    except TimeoutError:
        return False


async def wait_for_any(*events: asyncio.Event) -> None:
    """Returns as soon as one of them is set."""
    if any(event.is_set() for event in events):
        return
    waiting = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()


@dataclass(frozen=True, slots=True)
class Periodic:
    """A loop that does `round` at each tick of `seconds`, and at once again while a round returns that it did
    something. A round that fails is logged, counted and tried again after a while."""

    name: str
    seconds: float
    round: Callable[[], Awaitable[int]]
    metrics: Metrics

    async def run(self, stopping: asyncio.Event) -> None:
        """Repeats until `stopping` is set."""
        backoff = Backoff(first_seconds=self.seconds)
        while not stopping.is_set():
            if await self.run_once(stopping):
                backoff.reset()
                await wait_for_event(stopping, until_tick(self.seconds))
            else:
                await backoff.wait(stopping)

    async def run_once(self, stopping: asyncio.Event) -> bool:
        """Works off all there is, or what it can until `stopping` is set; returns whether that went well."""
        try:
            while await self.round() and not stopping.is_set():
                pass
        except ServiceUnavailable as error:
            log.warning("loop.unavailable", loop=self.name, error=str(error))
        except Exception:
            log.exception("loop.failed", loop=self.name)
        else:
            return True
        self.metrics.loop_failures.labels(self.name).inc()
        return False


async def supervise(loops: Iterable[tuple[str, Run]], stopping: asyncio.Event) -> None:
    """Runs loops together until `stopping` is set and each has ended.

    Raises LoopEnded as soon as one ends before that, for whatever reason, also by a CancelledError that a library
    raised on its own; the others are then cancelled.
    """
    tasks = {asyncio.create_task(run(stopping), name=name) for name, run in loops}
    waiting = set(tasks)
    try:
        while waiting:
            ended, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in ended:
                _check(task, stopping)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _check(task: asyncio.Task[None], stopping: asyncio.Event) -> None:
    error = asyncio.CancelledError("by a library") if task.cancelled() else task.exception()
    if error is not None or not stopping.is_set():
        raise LoopEnded(f"{task.get_name()} ended: {error!r}") from error
