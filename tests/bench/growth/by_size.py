"""CreateOrder, relay and saga with more and more orders in the tables."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from tests.bench.api_processes import Load, api
from tests.bench.growth.backlog import PATIENT, answering_itself, carried, relayed, sink
from tests.bench.growth.databases import Database, Databases
from tests.bench.growth.measured import Measured, Panel
from tests.bench.growth.sizes import Sizes
from tests.bench.growth.turns import Rounds, figures_of, in_turn, median_ratio
from tests.bench.load.requests import write_requests
from tests.bench.measured import SECONDS, Figure, Measure
from tests.bench.orders import create_requests
from tests.endurance.measured import Bound, Result, Tell
from tests.integration.platform import Running

LEAST: Final = 0.9
"""Of the speed with empty tables."""

_REQUESTS: Final = 5_000

Opened = Callable[[AsyncExitStack, Database, Sizes], Awaitable[Measure]]
"""Starts what a database is measured by, to be stopped with the stack."""


async def create_order(databases: Databases, sizes: Sizes, tell: Tell) -> Measured:
    """The api alone: 64 clients, each order in the tables when it is answered."""
    SECONDS.set(sizes.seconds)
    return await _by_size("create-order", "orders/s", databases, sizes, tell, _creating)


async def relay(databases: Databases, sizes: Sizes, tell: Tell) -> Measured:
    """A relay alone: a backlog of events, each sent, confirmed and marked."""
    return await _by_size("relay", "events/s", databases, sizes, tell, _relaying)


async def saga(databases: Databases, sizes: Sizes, tell: Tell) -> Measured:
    """A worker: orders that wait to be announced, each brought to the end of its saga."""
    return await _by_size("saga", "sagas/s", databases, sizes, tell, _carrying)


async def _by_size(name: str, unit: str, databases: Databases, sizes: Sizes, tell: Tell, opened: Opened) -> Measured:
    tell(0, "making ready")
    compared = [
        await databases.empty(),
        await databases.with_orders(sizes.middle),
        await databases.with_orders(sizes.large, sizes.listed),
    ]
    async with AsyncExitStack() as stack:
        sides = {one.label: await opened(stack, one, sizes) for one in compared}
        rounds = await in_turn(sides, sizes.rounds, tell)
    return result_of(name, unit, {one.label: one.orders for one in compared}, rounds)


def result_of(name: str, unit: str, orders: Mapping[str, int], rounds: Rounds) -> Measured:
    """The first side is the one that the others are compared with."""
    first, *others = orders
    ratios = {label: median_ratio(rounds[label], rounds[first]) for label in others}
    bounds = [Bound(f"{label} / {first}", round(ratio, 3), least=LEAST) for label, ratio in ratios.items()]
    curve = [(float(orders[first]), 1.0), *((float(orders[label]), ratio) for label, ratio in ratios.items())]
    figures = figures_of(rounds, unit, unit.removesuffix("s/s"))
    return Measured(
        Result(name, figures, bounds), Panel("orders in the tables", "of the speed when empty", {name: curve}, LEAST)
    )


async def _creating(stack: AsyncExitStack, database: Database, sizes: Sizes) -> Measure:
    requests = database.platform.folder / "create-requests"
    write_requests(requests, create_requests(_REQUESTS))
    serving = await stack.enter_async_context(api(database.platform, **PATIENT))
    load = Load("CreateOrder", requests)

    async def create() -> Figure:
        await database.reset()
        return await database.site.loaded(load, serving.port, service=serving.pid)

    return create


async def _relaying(stack: AsyncExitStack, database: Database, sizes: Sizes) -> Measure:
    await stack.enter_async_context(sink(database.platform))
    relay = await stack.enter_async_context(started_worker(database, "--only", "relay"))

    async def drain() -> Figure:
        await database.reset()
        return await relayed(database, relay, sizes.backlog)

    return drain


async def _carrying(stack: AsyncExitStack, database: Database, sizes: Sizes) -> Measure:
    worker = await stack.enter_async_context(started_worker(database))
    await stack.enter_async_context(answering_itself(database.platform))

    async def carry() -> Figure:
        await database.reset()
        return await carried(database, [worker], sizes.backlog)

    return carry


@asynccontextmanager
async def started_worker(database: Database, *arguments: str) -> AsyncIterator[Running]:
    """A worker that is ready, stopped at the end of the block."""
    worker = await database.platform.start_worker(*arguments, **PATIENT)
    yield worker
    await asyncio.to_thread(worker.stop)
