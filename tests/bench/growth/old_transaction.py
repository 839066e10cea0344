"""A relay beside a transaction that stays open all the while: nothing that it deletes can be vacuumed."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from tests.bench.growth.backlog import relayed, sink
from tests.bench.growth.by_size import started_worker
from tests.bench.growth.databases import Database, Databases
from tests.bench.growth.measured import Measured, Panel
from tests.bench.growth.sizes import Sizes
from tests.bench.growth.turns import Rounds, figures_of, in_turn, median_ratio
from tests.bench.measured import Figure, Measure
from tests.endurance.measured import Bound, Result, Tell
from tests.integration.platform import Platform, Running
from tests.integration.storage_fixtures import session

LEAST: Final = 0.7
"""Of the speed without one."""

_ALONE: Final = "alone"
_BESIDE: Final = "beside an old transaction"


async def old_transaction(databases: Databases, sizes: Sizes, tell: Tell) -> Measured:
    """Two databases on one server, each with its relay; in one a transaction is open from before the first round to
    after the last."""
    tell(0, "making ready")
    compared = {_ALONE: await databases.empty(), _BESIDE: await databases.empty()}
    async with AsyncExitStack() as stack:
        sides: dict[str, Measure] = {}
        for name, database in compared.items():
            await stack.enter_async_context(sink(database.platform))
            relay = await stack.enter_async_context(started_worker(database, "--only", "relay"))
            sides[name] = _draining(database, relay, sizes.long_backlog)
        await stack.enter_async_context(transaction_open(compared[_BESIDE].platform))
        rounds = await in_turn(sides, sizes.rounds, tell)
    return result_of(rounds, sizes.long_backlog)


def result_of(rounds: Rounds, count: int) -> Measured:
    """All rounds, and the last one, which has the most dead rows."""
    ratios = [one.value / other.value for one, other in zip(rounds[_BESIDE], rounds[_ALONE], strict=True)]
    bounds = [
        Bound("beside it / alone", round(median_ratio(rounds[_BESIDE], rounds[_ALONE]), 3), least=LEAST),
        Bound("beside it / alone, last round", round(ratios[-1], 3), least=LEAST),
    ]
    # The round that warms up leaves its dead rows as well.
    curve = [(float(count * (number + 1)), ratio) for number, ratio in enumerate(ratios, 1)]
    panel = Panel("events since it began", "of the speed alone", {"relay": curve}, LEAST)
    return Measured(Result("old-transaction", figures_of(rounds, "events/s", "event"), bounds), panel)


@asynccontextmanager
async def transaction_open(platform: Platform) -> AsyncIterator[None]:
    """Within the block PostgreSQL keeps every row of this database that somebody could see when it began."""
    async with session(platform.database_url) as connection, connection.transaction():
        await connection.execute("set transaction isolation level repeatable read")
        await connection.execute("select count(*) from order_service.orders")
        yield


def _draining(database: Database, relay: Running, count: int) -> Measure:
    async def drain() -> Figure:
        return await relayed(database, relay, count)

    return drain
