"""A long backlog drains as fast at its end as at its beginning, also while no row can be vacuumed."""

import asyncio
import functools
import itertools
import statistics
import time
from collections.abc import Callable
from contextlib import AsyncExitStack

from tests.endurance.measured import Bound, Result, Tell
from tests.endurance.orders import make_unsent
from tests.integration.platform import Platform, Running
from tests.integration.storage_fixtures import session

ROWS = 200_000
SLOWEST = 0.9
"""The speed of the last quarter, as a share of that of the first."""

_SLICES = 10
_EDGE = 0.02
"""Left out at both ends: a relay that has just started, and a last window that is not full."""


async def drains_evenly(platform: Platform, scale: float, tell: Tell) -> Result:
    """The backlog twice: as it is, and with an old transaction held open in the same database."""
    rows = max(2_000, round(ROWS * scale))
    figures: dict[str, float] = {"rows": rows}
    bounds = []
    for place, held_open in enumerate((False, True)):
        what = "with an old transaction" if held_open else "alone"
        tell(place / 2, f"making {rows:,} unsent events")
        await make_unsent(platform, rows)
        tell(place / 2, what)
        times = await _drain(platform, rows, held_open, functools.partial(_tell_part, tell, place / 2))
        first, last = rows * _speed(times, _EDGE, 0.25), rows * _speed(times, 0.75, 1 - _EDGE)
        figures |= {f"{what}: first quarter, events/s": round(first), f"{what}: last quarter, events/s": round(last)}
        bounds.append(Bound(f"{what}: last quarter's speed / first quarter's", round(last / first, 3), least=SLOWEST))
        left = await platform.query("select count(*) from order_service.outbox")
        bounds.append(Bound(f"{what}: events left", left[0][0], least=0, most=0))
    return Result("backlog", figures, bounds)


async def _drain(
    platform: Platform, rows: int, held_open: bool, tell: Callable[[float], None]
) -> list[tuple[float, float]]:
    """Times, and what share of the events the broker had confirmed by then."""
    async with AsyncExitStack() as stack:
        if held_open:
            old = await stack.enter_async_context(session(platform.database_url))
            await stack.enter_async_context(old.transaction())
            await old.execute("set transaction isolation level repeatable read")
            await old.execute("select count(*) from order_service.orders")
        channel = await stack.enter_async_context(platform.broker())
        exchange = await channel.declare_exchange("order.events", "topic", durable=True)
        queue = await channel.declare_queue("sink", durable=True, arguments={"x-max-length": 1_000})
        await queue.bind(exchange, "#")
        relay = await platform.start_worker("--only", "relay")
        times = [(time.monotonic(), 0.0)]
        while times[-1][1] < 1:
            await asyncio.sleep(0.1)
            times.append((time.monotonic(), await asyncio.to_thread(_confirmed, relay) / rows))
            tell(times[-1][1])
        await asyncio.to_thread(relay.stop)
    return times


def _tell_part(tell: Tell, before: float, share: float) -> None:
    tell(before + share / 2, "")


def _confirmed(relay: Running) -> float:
    return relay.metric("order_service_relay_messages_total", result="confirmed")


def _speed(times: list[tuple[float, float]], begin: float, end: float) -> float:
    """How much of the whole was done in a second, in most slices between two shares of it: whatever else the machine
    did for a moment does not count."""
    edges = [begin + (end - begin) * edge / _SLICES for edge in range(_SLICES + 1)]
    whens = [_when(times, edge) for edge in edges]
    return statistics.median((end - begin) / _SLICES / (t1 - t0) for t0, t1 in itertools.pairwise(whens))


def _when(times: list[tuple[float, float]], share: float) -> float:
    """When so much was done, between the two nearest looks."""
    after = next(place for place, (_, done) in enumerate(times) if done >= share)
    (t0, d0), (t1, d1) = times[after - 1], times[after]
    return t0 + (t1 - t0) * (share - d0) / (d1 - d0) if after else t0
