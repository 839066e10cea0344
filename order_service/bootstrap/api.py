"""The api process: the gRPC server."""

import asyncio
import functools
from datetime import timedelta
from typing import Final

import structlog

from order_service.api.acceptors import Listening
from order_service.api.batching import Batcher
from order_service.api.order_creation import OrderCreation
from order_service.api.server import Server
from order_service.api.servicer import Collaborators, OrderServicer, read_batch
from order_service.api.watching import Watching
from order_service.bootstrap.process import Process, check_database, opened, saga_rules, within_grace
from order_service.config import Settings
from order_service.loops import Periodic, Run, supervise, until_tick, wait_for_event
from order_service.telemetry.sampling import Sampling

log: Final = structlog.get_logger()

_TRANSACTIONS_AT_ONCE: Final = 4
_MOST_WAITING: Final = 20_000
_GATHERING_SECONDS: Final = 0.008
"""Longer would bring hardly more: with 64 callers 30 to 40 orders share a transaction, whose own cost is then a small
part of theirs."""
_LARGEST_READ: Final = 200
_REVIVE_SECONDS: Final = 0.2
"""For so long, at most, nobody listens after gRPC has ended its server."""
_CLOSING: Final = timedelta(seconds=1)
"""What the server may take to close once the grace of its calls is over."""


async def api(settings: Settings, report_to: int | None = None) -> None:
    """The gRPC server. Raises OrderServiceError if it cannot start or a part of it ends.

    With `report_to`, a pipe, it is one of several that share the port: see `api_group`."""
    async with opened(settings, "api", report_to) as process:
        watching = Watching(process.database)
        sampling = Sampling(settings.trace_sample_ratio if settings.otlp_endpoint else 0.0)
        server = Server(OrderServicer(_collaborators(process, watching)), process.metrics, sampling)
        is_shared = report_to is not None
        listening = Listening(settings.grpc_host, settings.grpc_port, settings.grpc_reflection, is_shared)
        port = await server.start(listening)
        log.info("api.listening", port=port)
        process.readiness.report("started")
        health = Periodic("health", 1.0, functools.partial(_check_health, process, server), process.metrics)
        serving: Run = functools.partial(_serve, server, settings.shutdown_grace)
        loops = [*process.loops(), ("health", health.run), ("watching", watching.run), ("grpc", serving)]
        await within_grace(supervise(loops, process.stopping), process.stopping, settings.shutdown_grace + _CLOSING)


def _collaborators(process: Process, watching: Watching) -> Collaborators:
    rules = saga_rules(process.settings)
    creation = OrderCreation(process.database, rules.timeouts, process.metrics)
    return Collaborators(
        database=process.database,
        creation=Batcher(
            creation.carry_out,
            process.settings.group_commit_size,
            _TRANSACTIONS_AT_ONCE,
            _MOST_WAITING,
            _GATHERING_SECONDS,
        ),
        reading=Batcher(
            functools.partial(read_batch, process.database),
            _LARGEST_READ,
            _TRANSACTIONS_AT_ONCE,
            _MOST_WAITING,
            _GATHERING_SECONDS,
        ),
        watching=watching,
        rules=rules,
        metrics=process.metrics,
        default_currency=process.settings.default_currency,
    )


async def _serve(server: Server, grace: timedelta, stopping: asyncio.Event) -> None:
    """Lets the server work until it is asked to stop, or another part of the process has ended."""
    try:
        while not stopping.is_set():
            await server.revive(grace)
            await wait_for_event(stopping, until_tick(_REVIVE_SECONDS))
    finally:
        await server.stop(grace)


async def _check_health(process: Process, server: Server) -> int:
    await check_database(process)
    await server.set_serving(not process.readiness.wrong())
    return 0
