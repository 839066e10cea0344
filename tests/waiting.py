"""Waiting for a condition, with a bound."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

T = TypeVar("T")

_POLL_SECONDS = 0.02


@overload
async def eventually(
    condition: Callable[[], Awaitable[T | None]], seconds: float = 40.0, every: float = _POLL_SECONDS
) -> T: ...
@overload
async def eventually(condition: Callable[[], T | None], seconds: float = 40.0, every: float = _POLL_SECONDS) -> T: ...
async def eventually(condition: Callable[[], Any], seconds: float = 40.0, every: float = _POLL_SECONDS) -> Any:
    """The first true value that `condition` gives, asked again `every` so many seconds. Fails with the last value when
    the time is up.

    The time is one that nothing takes, also on a machine that is busy with other things: what has to come sooner is
    measured."""
    ends = time.monotonic() + seconds
    while True:
        value = condition()
        if inspect.isawaitable(value):
            value = await value
        if value:
            return value
        if time.monotonic() > ends:
            raise AssertionError(f"not within {seconds} s: {inspect.getsource(condition).strip()} gave {value!r}")
        await asyncio.sleep(every)
