"""What every process opens and closes, whatever it does."""

import asyncio
import functools
import gc
import platform
from collections.abc import AsyncIterator, Coroutine
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from importlib.metadata import version
from typing import Any, Final
from uuid import UUID

import structlog
from uuid_utils.compat import uuid7

from order_service.bootstrap.reports import ReportingHeartbeat
from order_service.config import Settings
from order_service.domain.errors import StorageUnavailable
from order_service.lifecycle import Heartbeat, stop_on_signals
from order_service.loops import Backoff, Periodic, Run
from order_service.saga.order_saga import StepName
from order_service.storage import migrations
from order_service.storage.database import Database
from order_service.storage.migration_files import migration_files
from order_service.telemetry import http, logs, traces
from order_service.telemetry.metrics import Metrics
from order_service.telemetry.readiness import Readiness
from order_service.use_cases.advance_sagas import SagaRules

log: Final = structlog.get_logger()

_NEW_OBJECTS: Final = 10_000
"""The garbage collector's rounds begin after so many; Python's own value is 700."""


@dataclass(frozen=True, slots=True)
class Process:
    """What every process has."""

    settings: Settings
    stopping: asyncio.Event
    database: Database
    metrics: Metrics
    readiness: Readiness

    def loops(self) -> list[tuple[str, Run]]:
        """The loops that every process runs."""
        pool = Periodic("pool", 1.0, functools.partial(_measure_pool, self), self.metrics)
        return [("pool", pool.run)]


@asynccontextmanager
async def opened(settings: Settings, name: str, report_to: int | None = None) -> AsyncIterator[Process]:
    """What every process opens, in order, and closes in the other. Raises OrderServiceError if it cannot be had.

    With `report_to`, a pipe, another process speaks for this one, and is told there how it does."""
    logs.configure(settings.log_level, settings.log_format)
    release = version("order-service")
    provider = traces.configure(
        settings.otel_service_name, release, settings.otlp_endpoint, settings.trace_sample_ratio
    )
    metrics, readiness, stopping = Metrics(), Readiness(), asyncio.Event()
    metrics.build_info.labels(release, platform.python_version()).set(1)
    readiness.report("started", "starting")
    stop_on_signals(stopping)
    with ExitStack() as probes:
        if report_to is None:
            heartbeat = Heartbeat()
            port = probes.enter_context(_probes(settings, metrics, heartbeat, readiness)).port
            log.info("process.started", process=name, version=release, metrics_port=port)
        else:
            heartbeat = ReportingHeartbeat(report_to, readiness, stopping)
            log.info("process.started", process=name, version=release)
        async with heartbeat.beating(), database_of(settings, name) as database:
            await _wait_for_schema(settings, readiness, stopping)
            _collect_less_garbage()
            yield Process(settings, stopping, database, metrics, readiness)
    await asyncio.to_thread(traces.shutdown, provider)


def _probes(settings: Settings, metrics: Metrics, heartbeat: Heartbeat, readiness: Readiness) -> http.Probes:
    return http.serve(settings.metrics_host, settings.metrics_port, metrics.registry, heartbeat.wrong, readiness.wrong)


@asynccontextmanager
async def database_of(settings: Settings, application: str) -> AsyncIterator[Database]:
    """An open database, closed at the end."""
    database = Database(
        settings.database_url, settings.database_pool_size, settings.database_timeout, f"order-service {application}"
    )
    await database.open()
    try:
        yield database
    finally:
        await database.close()


def known_migrations() -> list[migrations.Migration]:
    """The migrations that this version of the service comes with."""
    return [migrations.Migration(name, sql) for name, sql in migration_files()]


def saga_rules(settings: Settings) -> SagaRules:
    """The steps of new sagas, and how long each may take."""
    timeouts = {StepName.STOCK: settings.saga_stock_timeout}
    if settings.saga_payment:
        timeouts[StepName.PAYMENT] = settings.saga_payment_timeout
    return SagaRules(timeouts, new_id)


def new_id() -> UUID:
    """An id that sorts by the time it was made (RFC 9562, UUIDv7)."""
    return uuid7()


async def check_database(process: Process) -> int:
    """A round that notes whether PostgreSQL answers."""
    try:
        await process.database.ping()
    except StorageUnavailable as error:
        process.readiness.report("postgresql", str(error))
    else:
        process.readiness.report("postgresql")
    return 0


async def _wait_for_schema(settings: Settings, readiness: Readiness, stopping: asyncio.Event) -> None:
    """Waits until PostgreSQL answers. Raises MigrationRefused if its schema is not this version's."""
    backoff = Backoff()
    while not stopping.is_set():
        try:
            await migrations.check(settings.database_url, known_migrations())
        except StorageUnavailable as error:
            readiness.report("postgresql", str(error))
            log.warning("process.waiting_for_postgresql", error=str(error))
            await backoff.wait(stopping)
        else:
            readiness.report("postgresql")
            return


def _collect_less_garbage() -> None:
    """Leaves what is loaded by now, and stays, out of the collector's rounds, and makes it look at new objects fewer
    times: hardly any of them are in circles. Looking cost a call a seventh of its time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS)


async def _measure_pool(process: Process) -> int:
    figures = process.database.pool_figures()
    idle = figures.get("pool_available", 0)
    process.metrics.pool_connections.labels("idle").set(idle)
    process.metrics.pool_connections.labels("used").set(figures.get("pool_size", 0) - idle)
    process.metrics.pool_waiting.set(figures.get("requests_waiting", 0))
    return 0


async def within_grace(working: Coroutine[Any, Any, None], stopping: asyncio.Event, grace: timedelta) -> None:
    """Lets loops work, and once they are asked to stop gives them `grace` for the round they are in."""
    task = asyncio.create_task(working)
    stop = asyncio.create_task(stopping.wait())
    await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
    stop.cancel()
    try:
        async with asyncio.timeout(grace.total_seconds()):
            await task
    except TimeoutError:
        log.warning("process.grace_over", seconds=grace.total_seconds())
