"""Keeps a number of calls in flight, and counts those that are answered in a span of time."""

import asyncio
import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import grpc

Check = Callable[[bytes], None]
"""Raises if an answer that has come is none that counts."""

_OPTIONS: Final = (("grpc.use_local_subchannel_pool", 1),)
"""Each channel has a connection of its own."""


@dataclass(slots=True)
class Counting:
    """What was answered while `counts` was on: how long each call took, in seconds."""

    counts: bool = False
    ended: bool = False
    took: list[float] = field(default_factory=list)


async def keep_in_flight(
    target: str, method: str, requests: Iterable[bytes], in_flight: int, channels: int, check: Check, counting: Counting
) -> None:
    """Calls until `counting.ended`. Raises what the first call that fails raises."""
    endless = itertools.cycle(requests)
    opened = [grpc.aio.insecure_channel(target, options=_OPTIONS) for _ in range(channels)]
    try:
        # Bytes go out and come in as they are.
        calls: list[Any] = [channel.unary_unary(method) for channel in opened]
        async with asyncio.TaskGroup() as tasks:
            for place in range(in_flight):
                tasks.create_task(_one_after_another(calls[place % channels], endless, check, counting))
    finally:
        for channel in opened:
            await channel.close()


async def _one_after_another(call: Any, requests: Iterator[bytes], check: Check, counting: Counting) -> None:
    while not counting.ended:
        began = time.perf_counter()
        answer = await call(next(requests))
        ended = time.perf_counter()
        check(answer)
        if counting.counts:
            counting.took.append(ended - began)
