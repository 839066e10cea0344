"""The composition root: builds each process out of its settings, and owns what it opens.

Order of stopping: health says NOT_SERVING and no more calls are taken; calls and rounds under way finish within
SHUTDOWN_GRACE; then connections close; then the last spans are sent. Nothing depends on that order for safety: SIGKILL
at any instant needs no manual step.
"""

import asyncio
import functools
import platform
from collections.abc import AsyncIterator, Collection, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from importlib.metadata import version
from typing import Any, Final
from uuid import UUID, uuid4

import structlog
from uuid_utils.compat import uuid7

from order_service.api.batching import Batcher
from order_service.api.order_creation import OrderCreation
from order_service.api.server import Listening, Server
from order_service.api.servicer import Collaborators, OrderServicer, read_batch
from order_service.api.watching import Watching
from order_service.config import Settings
from order_service.domain.errors import StorageUnavailable
from order_service.inbox.receive import Receiver
from order_service.lifecycle import Heartbeat, stop_on_signals
from order_service.loops import Backoff, Periodic, Run, supervise
from order_service.outbox.leases import Leases
from order_service.outbox.relay import Relay, RelayRules
from order_service.saga.order_saga import StepName
from order_service.storage import migrations
from order_service.storage.database import Database
from order_service.storage.migration_files import migration_files
from order_service.telemetry import http, logs, traces
from order_service.telemetry.metrics import Metrics
from order_service.telemetry.readiness import Readiness
from order_service.timers.deadlines import Deadlines
from order_service.timers.gauges import Gauges
from order_service.timers.housekeeping import Housekeeping
from order_service.timers.parked_retries import ParkedRetries
from order_service.use_cases.advance_sagas import SagaRules

log: Final = structlog.get_logger()

_TRANSACTIONS_AT_ONCE: Final = 4
_MOST_WAITING: Final = 20_000
_LARGEST_READ: Final = 200


class Role(StrEnum):
    """What a worker does."""

    RELAY = "relay"
    CONSUMER = "consumer"
    TIMERS = "timers"


@dataclass(frozen=True, slots=True)
class Process:
    """What every process has."""

    settings: Settings
    stopping: asyncio.Event
    database: Database
    metrics: Metrics
    readiness: Readiness
    heartbeat: Heartbeat

    def loops(self) -> list[tuple[str, Run]]:
        """The loops that every process runs."""
        pool = Periodic("pool", 1.0, functools.partial(_measure_pool, self), self.metrics)
        return [("heartbeat", self.heartbeat.run), ("pool", pool.run)]


def saga_rules(settings: Settings) -> SagaRules:
    """The steps of new sagas, and how long each may take."""
    timeouts = {StepName.STOCK: settings.saga_stock_timeout}
    if settings.saga_payment:
        timeouts[StepName.PAYMENT] = settings.saga_payment_timeout
    return SagaRules(timeouts, new_id)


def new_id() -> UUID:
    """An id that sorts by the time it was made (RFC 9562, UUIDv7)."""
    return uuid7()


async def api(settings: Settings) -> None:
    """The gRPC server. Raises OrderServiceError if it cannot start or a part of it ends."""
    async with _process(settings, "api") as process:
        watching = Watching(process.database)
        server = Server(OrderServicer(_collaborators(process, watching)), process.metrics)
        port = await server.start(Listening(settings.grpc_host, settings.grpc_port, settings.grpc_reflection))
        log.info("api.listening", port=port)
        process.readiness.report("started")
        health = Periodic("health", 1.0, functools.partial(_check_health, process, server), process.metrics)
        loops = [*process.loops(), ("health", health.run), ("watching", watching.run)]
        try:
            await supervise(loops, process.stopping)
        finally:
            await server.stop(settings.shutdown_grace)


async def worker(settings: Settings, roles: Collection[Role]) -> None:
    """Relay, consumers and timers, or some of them. Raises OrderServiceError if a part of it ends."""
    async with _process(settings, "worker") as process:
        hint = asyncio.Event()
        loops = process.loops()
        health = Periodic("health", 1.0, functools.partial(_check_database, process), process.metrics)
        loops.append(("health", health.run))
        if Role.RELAY in roles:
            loops.append(("relay", _relay(process, hint).run))
        if Role.CONSUMER in roles:
            loops.extend(_consumers(process, hint))
        if Role.TIMERS in roles:
            loops.extend(_timers(process, hint))
        log.info("worker.started", roles=sorted(roles))
        process.readiness.report("started")
        await _within_grace(supervise(loops, process.stopping), process.stopping, settings.shutdown_grace)


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


@asynccontextmanager
async def _process(settings: Settings, name: str) -> AsyncIterator[Process]:
    """What every process opens, in order, and closes in the other."""
    logs.configure(settings.log_level, settings.log_format)
    release = version("order-service")
    provider = traces.configure(
        settings.otel_service_name, release, settings.otlp_endpoint, settings.trace_sample_ratio
    )
    metrics, readiness, heartbeat = Metrics(), Readiness(), Heartbeat()
    metrics.build_info.labels(release, platform.python_version()).set(1)
    readiness.report("started", "starting")
    stopping = asyncio.Event()
    stop_on_signals(stopping)
    probes = http.serve(
        settings.metrics_host, settings.metrics_port, metrics.registry, heartbeat.wrong, readiness.wrong
    )
    with probes:
        log.info("process.started", process=name, version=release, metrics_port=probes.port)
        async with database_of(settings, name) as database:
            await _wait_for_schema(settings, readiness, stopping)
            yield Process(settings, stopping, database, metrics, readiness, heartbeat)
    await asyncio.to_thread(traces.shutdown, provider)


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


def _collaborators(process: Process, watching: Watching) -> Collaborators:
    rules = saga_rules(process.settings)
    creation = OrderCreation(process.database, rules.timeouts, process.metrics)
    return Collaborators(
        database=process.database,
        creation=Batcher(creation.carry_out, process.settings.group_commit_size, _TRANSACTIONS_AT_ONCE, _MOST_WAITING),
        reading=Batcher(
            functools.partial(read_batch, process.database), _LARGEST_READ, _TRANSACTIONS_AT_ONCE, _MOST_WAITING
        ),
        watching=watching,
        rules=rules,
        metrics=process.metrics,
        default_currency=process.settings.default_currency,
    )


def _relay(process: Process, hint: asyncio.Event) -> Relay:
    settings = process.settings
    return Relay(
        process.database,
        settings.rabbitmq_urls,
        Leases(process.database, uuid4(), process.metrics),
        RelayRules(settings.relay_window, settings.relay_park_after),
        process.metrics,
        process.readiness,
        hint,
    )


def _consumers(process: Process, hint: asyncio.Event) -> list[tuple[str, Run]]:
    """One for each step that sagas may have: those of a step that was switched off may still be answered."""
    rules = saga_rules(process.settings)
    return [
        (
            f"consumer {step.value}",
            Receiver(
                step,
                process.database,
                process.settings.rabbitmq_urls,
                process.settings.consumer_prefetch,
                rules,
                process.metrics,
                process.readiness,
                hint,
            ).run,
        )
        for step in StepName
    ]


def _timers(process: Process, hint: asyncio.Event) -> list[tuple[str, Run]]:
    settings, database, metrics = process.settings, process.database, process.metrics
    rules = saga_rules(settings)
    loops = [
        Periodic("deadlines", 0.25, Deadlines(database, rules, metrics, hint).round, metrics),
        Periodic(
            "parked_retries",
            0.5,
            ParkedRetries(database, settings.reply_retry_for, rules, metrics, hint).round,
            metrics,
        ),
        Periodic("gauges", 2.0, Gauges(database, metrics, process.readiness).round, metrics),
        Periodic(
            "housekeeping", 60.0, Housekeeping(database, settings.inbox_keep, settings.request_id_keep).round, metrics
        ),
    ]
    return [(loop.name, loop.run) for loop in loops]


async def _within_grace(working: Coroutine[Any, Any, None], stopping: asyncio.Event, grace: timedelta) -> None:
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


async def _check_health(process: Process, server: Server) -> int:
    await _check_database(process)
    await server.set_serving(not process.readiness.wrong())
    return 0


async def _check_database(process: Process) -> int:
    try:
        await process.database.ping()
    except StorageUnavailable as error:
        process.readiness.report("postgresql", str(error))
    else:
        process.readiness.report("postgresql")
    return 0


async def _measure_pool(process: Process) -> int:
    figures = process.database.pool_figures()
    idle = figures.get("pool_available", 0)
    process.metrics.pool_connections.labels("idle").set(idle)
    process.metrics.pool_connections.labels("used").set(figures.get("pool_size", 0) - idle)
    process.metrics.pool_waiting.set(figures.get("requests_waiting", 0))
    return 0
