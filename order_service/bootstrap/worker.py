"""The worker process: relay, consumers and timers, or some of them."""

import asyncio
import functools
from collections.abc import Collection
from enum import StrEnum
from typing import Final
from uuid import uuid4

import structlog

from order_service.bootstrap.process import Process, check_database, opened, saga_rules, within_grace
from order_service.config import Settings
from order_service.inbox.receive import Receiver
from order_service.loops import Periodic, Run, supervise
from order_service.outbox.leases import Leases
from order_service.outbox.relay import Relay, RelayRules
from order_service.saga.order_saga import StepName
from order_service.timers.deadlines import Deadlines
from order_service.timers.gauges import Gauges
from order_service.timers.housekeeping import Housekeeping
from order_service.timers.parked_retries import ParkedRetries

log: Final = structlog.get_logger()


class Role(StrEnum):
    """What a worker does."""

    RELAY = "relay"
    CONSUMER = "consumer"
    TIMERS = "timers"


async def worker(settings: Settings, roles: Collection[Role]) -> None:
    """Relay, consumers and timers, or some of them. Raises OrderServiceError if a part of it ends."""
    async with opened(settings, "worker") as process:
        hint = asyncio.Event()
        loops = process.loops()
        health = Periodic("health", 1.0, functools.partial(check_database, process), process.metrics)
        loops.append(("health", health.run))
        if Role.RELAY in roles:
            loops.append(("relay", _relay(process, hint).run))
        if Role.CONSUMER in roles:
            loops.extend(_consumers(process, hint))
        if Role.TIMERS in roles:
            loops.extend(_timers(process, hint))
        log.info("worker.started", roles=sorted(roles))
        process.readiness.report("started")
        await within_grace(supervise(loops, process.stopping), process.stopping, settings.shutdown_grace)


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
    """At multiples of the time after which leases are renewed, so that an idle worker wakes once for all."""
    settings, database, metrics = process.settings, process.database, process.metrics
    rules = saga_rules(settings)
    loops = [
        Periodic("deadlines", 0.6, Deadlines(database, rules, metrics, hint).round, metrics),
        Periodic(
            "parked_retries",
            0.6,
            ParkedRetries(database, settings.reply_retry_for, rules, metrics, hint).round,
            metrics,
        ),
        Periodic("gauges", 3.0, Gauges(database, metrics, process.readiness).round, metrics),
        Periodic(
            "housekeeping", 60.0, Housekeeping(database, settings.inbox_keep, settings.request_id_keep).round, metrics
        ),
    ]
    return [(loop.name, loop.run) for loop in loops]
