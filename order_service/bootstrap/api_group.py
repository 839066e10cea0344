"""Several api processes on one port of one machine, and the one that starts them, watches them and speaks for them.

Each is an api like any other, with a pool of connections of its own. The system gives each connection of a client to
one of them (SO_REUSEPORT), so a client with few connections uses few of them. One that ends is started again; one that
ends before it could ever serve would do so again, and ends all. `/readyz` tells whether any can serve, `/healthz`
whether all are alive. `/metrics` has what they count together, and `process_*` of each.
"""

import asyncio
import functools
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from importlib.metadata import version
from tempfile import TemporaryDirectory
from typing import Final

import structlog

from order_service.api.ports import shared_port
from order_service.bootstrap.reports import Reports
from order_service.config import Settings
from order_service.domain.errors import OrderServiceError
from order_service.lifecycle import stop_on_signals
from order_service.loops import Backoff, supervise
from order_service.telemetry import http, logs
from order_service.telemetry.shared_metrics import FOLDER_VARIABLE, forget_gauges, shared_registry

log: Final = structlog.get_logger()


class CannotServe(OrderServiceError):
    """An api process ended before it could serve. What it has logged tells why."""


class NoFolder(OrderServiceError):
    """There is nowhere to keep the metrics of several processes."""


async def api_group(settings: Settings, processes: int) -> None:
    """So many gRPC servers. Raises OrderServiceError if they cannot start or a part of them ends."""
    logs.configure(settings.log_level, settings.log_format)
    stopping = asyncio.Event()
    stop_on_signals(stopping)
    with _folder() as folder, shared_port(settings.grpc_host, settings.grpc_port) as port:
        environment = {**os.environ, "GRPC_PORT": str(port), FOLDER_VARIABLE: folder}
        members = [Member(number, environment) for number in range(1, processes + 1)]
        registry = shared_registry(folder, lambda: {str(one.number): one.pid for one in members if one.pid})
        alive, ready = functools.partial(_wrong, members), functools.partial(_unmet, members)
        with http.serve(settings.metrics_host, settings.metrics_port, registry, alive, ready) as probes:
            log.info(
                "process.started",
                process="api",
                version=version("order-service"),
                metrics_port=probes.port,
                processes=processes,
            )
            await supervise([(f"api process {one.number}", one.run) for one in members], stopping)


class Member:
    """One of the processes, and those that take its place."""

    def __init__(self, number: int, environment: Mapping[str, str]) -> None:
        self.number = number
        self.pid: int | None = None
        self.reports = Reports()
        self._environment = environment

    async def run(self, stopping: asyncio.Event) -> None:
        """Keeps one running until `stopping` is set. Raises CannotServe."""
        backoff = Backoff()
        while not stopping.is_set():
            async with self._started() as ended:
                stop = asyncio.create_task(stopping.wait())
                await asyncio.wait({ended, stop}, return_when=asyncio.FIRST_COMPLETED)
                stop.cancel()
            exit_code = ended.result()
            # One that is asked to stop while it starts is ended by that.
            if not (stopping.is_set() and exit_code in (0, -signal.SIGTERM)):
                log.error("api.process_ended", number=self.number, ended=_words(exit_code))
            if not (stopping.is_set() or self.reports.has_served):
                raise CannotServe(f"an api process ended with {_words(exit_code)} before it could serve")
            await backoff.wait(stopping)

    @asynccontextmanager
    async def _started(self) -> AsyncIterator[asyncio.Task[int]]:
        """A process; the task gives its exit code. At the end of the block it is asked to stop, and waited for: how
        long it takes is bounded by its own SHUTDOWN_GRACE."""
        reading, writing = os.pipe()
        command = [sys.executable, "-m", "order_service", "api", "--report-to", str(writing)]
        process = await asyncio.create_subprocess_exec(*command, env=self._environment, pass_fds=(writing,))
        os.close(writing)
        self.pid = process.pid
        ended = asyncio.create_task(process.wait())
        reading_reports = asyncio.create_task(self.reports.read(reading))
        try:
            yield ended
        finally:
            if not ended.done():
                process.terminate()
            await asyncio.shield(asyncio.gather(ended, reading_reports))
            # What it reported of itself is over; that a process of this place could serve is not.
            self.pid, self.reports = None, Reports(has_served=self.reports.has_served)
            forget_gauges(self._environment[FOLDER_VARIABLE], process.pid)


@contextmanager
def _folder() -> Iterator[str]:
    """Where the processes keep what they count. Raises NoFolder."""
    try:
        folder = TemporaryDirectory(prefix="order-service-metrics-")
    except OSError as error:
        raise NoFolder(
            f"several processes need a folder for files that they can write; set TMPDIR ({error})"
        ) from error
    with folder as path:
        yield path


def _wrong(members: Sequence[Member]) -> str:
    """Empty while all processes are alive, else what is wrong with one that is not."""
    silent = ((member.number, member.reports.wrong()) for member in members)
    return next((f"api process {number} {wrong}" for number, wrong in silent if wrong), "")


def _unmet(members: Sequence[Member]) -> Mapping[str, str]:
    """Empty while any process can serve, else what each needs."""
    unmet = {f"api process {member.number}": member.reports.unmet for member in members}
    if not all(unmet.values()):
        return {}
    return {name: "; ".join(f"{need}: {wrong}" for need, wrong in needs.items()) for name, needs in unmet.items()}


def _words(exit_code: int) -> str:
    return f"exit code {exit_code}" if exit_code >= 0 else signal.Signals(-exit_code).name
