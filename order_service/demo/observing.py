"""Sends a scenario through the platform, watches it until all is quiet, and gives the figures."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import psycopg
from aio_pika.abc import AbstractConnection

from order_service.demo.books import held
from order_service.demo.checks import problems
from order_service.demo.counting import Counting
from order_service.demo.display import Standing
from order_service.demo.failure import DemoFailed
from order_service.demo.figures import Evidence, Figures, figures_of
from order_service.demo.placing import Placed, place_all
from order_service.demo.processes import Needs, Processes, lines_of
from order_service.demo.recorder import Recorder, recording, send_poison
from order_service.demo.scenario import Scenario
from order_service.demo.scraping import scrape
from order_service.private_servers.ports import LOOPBACK

_LOOK_SECONDS: Final = 0.25
_QUIET_LOOKS: Final = 3
"""So often in a row, with a pause between, nothing may be wrong: what comes twice comes soon."""


@dataclass(frozen=True, slots=True)
class Witnesses:
    """Who is asked about a run; the recorder hears through `connection`."""

    scenario: Scenario
    processes: Processes
    placed: Placed
    recorder: Recorder
    connection: AbstractConnection
    counting: Counting

    def check(self) -> None:
        """Raises DemoFailed if one of them cannot be asked any more."""
        self.processes.check()
        if self.connection.is_closed:
            raise DemoFailed("the recorder has lost its connection to RabbitMQ")

    async def standing(self) -> Standing:
        """How far it has come."""
        return Standing(len(self.placed.acknowledged), await self.counting.statuses(), self.recorder.ids.total())

    async def figures(self) -> Figures:
        """Everything, now."""
        stored = await self.counting.stored()
        told = await scrape((self.processes.api_metrics_port, self.processes.worker_metrics_port))
        books = held(lines_of(self.processes.stock_log))
        return figures_of(Evidence(self.scenario, self.placed, stored, self.recorder, books, told))


async def observe(
    needs: Needs, processes: Processes, scenario: Scenario, patience: float, show: Callable[[Standing], None]
) -> tuple[Figures, float]:
    """The figures once nothing is wrong any more, or after `patience` seconds; and how many seconds it took. Raises
    DemoFailed."""
    started, placed = time.monotonic(), Placed()
    async with recording(needs.rabbitmq_url, scenario.run_id) as (recorder, heard_by), _connected(needs) as database:
        counting = Counting(database, scenario.users, scenario.poison)
        witnesses = Witnesses(scenario, processes, placed, recorder, heard_by, counting)
        target = f"{LOOPBACK}:{processes.grpc_port}"
        work = asyncio.gather(place_all(target, scenario, placed), send_poison(heard_by, scenario.poison))
        try:
            figures = await _until_quiet(witnesses, work, started + patience, show)
            return figures, time.monotonic() - started
        finally:
            work.cancel()
            await asyncio.wait([work])


async def _until_quiet(
    witnesses: Witnesses, work: "asyncio.Future[Any]", ends: float, show: Callable[[Standing], None]
) -> Figures:
    quiet = 0
    while True:
        witnesses.check()
        standing = await witnesses.standing()
        show(standing)
        if work.done():
            work.result()
        late = time.monotonic() > ends
        if late or (work.done() and standing.settled >= standing.acknowledged):
            figures = await witnesses.figures()
            quiet = 0 if problems(figures) else quiet + 1
            if late or quiet == _QUIET_LOOKS:
                return figures
        await asyncio.sleep(_LOOK_SECONDS)


@asynccontextmanager
async def _connected(needs: Needs) -> AsyncIterator["psycopg.AsyncConnection[Any]"]:
    try:
        async with await psycopg.AsyncConnection.connect(needs.database_url, autocommit=True) as connection:
            yield connection
    except psycopg.OperationalError as error:
        raise DemoFailed(f"PostgreSQL went away: {str(error).splitlines()[0]}") from error
