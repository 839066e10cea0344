"""More worker processes on one database: the work never gets slower by it."""

import asyncio
import itertools
import os
import statistics
from contextlib import AsyncExitStack
from typing import Final

from tests.bench.growth.backlog import LOCK_WAITS, answering_itself, carried
from tests.bench.growth.by_size import started_worker
from tests.bench.growth.databases import Database, Databases
from tests.bench.growth.measured import Measured, Panel
from tests.bench.growth.sizes import Sizes
from tests.bench.growth.turns import Rounds, figures_of, in_turn, median_ratio, median_value
from tests.bench.measured import Figure, Measure
from tests.endurance.measured import Bound, Result, Tell
from tests.waiting import eventually

COUNTS: Final = (1, 2, 4, 8)
LEAST: Final = 0.95
"""Of the speed with fewer processes: what falls by no more is noise."""


async def more_workers(databases: Databases, sizes: Sizes, tell: Tell) -> Measured:
    """Whole workers, which share the buckets of the outbox and the replies before the backlog is let loose."""
    tell(0, "making ready")
    database = await databases.empty()
    # A worker declares the queue that the replies come to.
    async with started_worker(database):
        pass
    async with answering_itself(database.platform):
        sides = {_label(count): _working(database, count, sizes.backlog) for count in COUNTS}
        rounds = await in_turn(sides, sizes.rounds, tell)
    return result_of(rounds)


def result_of(rounds: Rounds) -> Measured:
    """Each number of processes against the one before."""
    values = {count: median_value(rounds[_label(count)]) for count in COUNTS}
    bounds = [
        Bound(
            f"{more} workers / {fewer}",
            round(median_ratio(rounds[_label(more)], rounds[_label(fewer)]), 3),
            least=LEAST,
        )
        for fewer, more in itertools.pairwise(COUNTS)
    ]
    figures = {"CPU cores": float(len(os.sched_getaffinity(0))), **figures_of(rounds, "sagas/s", "saga")}
    for side, measured in rounds.items():
        figures[f"{side}: {LOCK_WAITS}"] = round(statistics.median(one.more[LOCK_WAITS] for one in measured), 3)
    curve = [(float(count), value) for count, value in values.items()]
    return Measured(Result("workers", figures, bounds), Panel("worker processes", "sagas/s", {"workers": curve}))


def _label(count: int) -> str:
    return f"{count} workers" if count > 1 else "1 worker"


def _working(database: Database, count: int, orders: int) -> Measure:
    async def work() -> Figure:
        await database.reset()
        async with AsyncExitStack() as stack:
            workers = await asyncio.gather(*[stack.enter_async_context(started_worker(database)) for _ in range(count)])
            await eventually(lambda: _all_have_their_share(database, count), 60)
            # The more processes there are, the less comes to each: a short run would tell how they begin.
            await carried(database, workers, orders)
            return await carried(database, workers, orders)

    return work


async def _all_have_their_share(database: Database, count: int) -> bool:
    """Whether so many relays hold all buckets, none more than its share."""
    rows = await database.platform.query(
        "select count(*) from order_service.relay_leases where owner is not null group by owner"
    )
    held = [number for (number,) in rows]
    return len(held) == count and sum(held) == 64 and max(held) <= -(-64 // count)
