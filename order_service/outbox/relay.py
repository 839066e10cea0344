"""Publishes what is due in the outbox."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import UUID

import structlog

from order_service.broker.connection import Channel, channel_of, connected
from order_service.broker.frames import Outgoing
from order_service.broker.publisher import Published, Verdict, publish
from order_service.broker.topology import kept_declared
from order_service.domain.errors import BrokerUnavailable, ServiceUnavailable, StorageUnavailable
from order_service.domain.events import REQUESTS
from order_service.loops import Backoff, Pace, wait_for_event
from order_service.outbox.leases import Leases
from order_service.outbox.retry_policy import delay_seconds
from order_service.outbox.scan import Scan
from order_service.outbox.spans import sending
from order_service.storage.database import Database
from order_service.storage.outbox import DueEvent, Failure, Fence
from order_service.telemetry.metrics import Metrics
from order_service.telemetry.readiness import Readiness

log: Final = structlog.get_logger()

_PER_BUCKET: Final = 32


@dataclass(frozen=True, slots=True)
class RelayRules:
    """`window` events at once; one that is not taken for `park_after` from its first failed try on is handed to an
    operator."""

    window: int
    park_after: timedelta


@dataclass(frozen=True, slots=True)
class Sorted:
    """A published window by what has to be done about each event."""

    sent: list[DueEvent]
    failed: list[Failure]
    parked: list[Failure]
    unknown: str


class Relay:
    """Carries events to the broker, under the leases that `leases` keeps. See the package for what it guarantees."""

    def __init__(
        self,
        database: Database,
        urls: Sequence[str],
        leases: Leases,
        rules: RelayRules,
        metrics: Metrics,
        readiness: Readiness,
        hint: asyncio.Event,
    ) -> None:
        self._database = database
        self._urls = urls
        self._leases = leases
        self._rules = rules
        self._metrics = metrics
        self._readiness = readiness
        self._hint = hint
        self._scan = Scan()
        self._connected(False, "not connected yet")

    async def run(self, stopping: asyncio.Event) -> None:
        """Relays until `stopping` is set; the leases are kept until what is in flight is marked, then let go."""
        marked = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._leases.run(marked), name="leases")
            try:
                await self._connect_and_relay(stopping)
            finally:
                marked.set()

    async def _connect_and_relay(self, stopping: asyncio.Event) -> None:
        backoff = Backoff()
        while not stopping.is_set():
            try:
                async with (
                    connected(self._urls, "relay") as connection,
                    channel_of(connection) as channel,
                    kept_declared(channel),
                ):
                    self._connected(True)
                    self._leases.stand_back(False)
                    backoff.reset()
                    await self._relay(channel, stopping)
            except ServiceUnavailable as error:
                self._connected(False, str(error))
                self._leases.stand_back(isinstance(error, BrokerUnavailable))
                self._metrics.loop_failures.labels("relay").inc()
                log.warning("relay.unavailable", error=str(error))
                await backoff.wait(stopping)

    async def _relay(self, channel: Channel, stopping: asyncio.Event) -> None:
        pace = Pace()
        while not stopping.is_set():
            if channel.is_closed:
                raise BrokerUnavailable("the connection was lost")
            sent = await self.run_once(channel)
            if sent < self._rules.window:
                await wait_for_event(self._hint, pace.after(sent))
                self._hint.clear()

    async def run_once(self, channel: Channel) -> int:
        """Publishes one window; returns how many events it held. Raises BrokerUnavailable, StorageUnavailable."""
        async with self._leases.window() as fence:
            return await self._send_window(channel, fence)

    async def _send_window(self, channel: Channel, fence: Fence) -> int:
        window = await self._fetch(fence)
        if not window or not self._leases.fence().epochs:
            return 0
        self._count((due, "published") for due in window)
        with sending(window) as traceparents:
            results = await publish(channel, [_outgoing(due, traceparents) for due in window])
        outcome = self._sort(window, results)
        await self._mark_for_sure(outcome, fence)
        if outcome.unknown:
            raise BrokerUnavailable(outcome.unknown)
        return len(window)

    async def _fetch(self, fence: Fence) -> list[DueEvent]:
        if not fence.epochs:
            return []
        began = time.monotonic()
        since = self._scan.since(fence.epochs, began)
        async with self._database.read() as unit_of_work:
            window = await unit_of_work.outbox.fetch_due(since, _PER_BUCKET, self._rules.window)
        self._scan.saw(window, time.monotonic() - began)
        return window

    def _sort(self, window: Sequence[DueEvent], results: Sequence[Published]) -> Sorted:
        outcome = Sorted([], [], [], next((one.told for one in results if one.verdict is Verdict.UNKNOWN), ""))
        self._count((due, _counted(result.verdict)) for due, result in zip(window, results, strict=True))
        for due, result in zip(window, results, strict=True):
            if result.verdict is Verdict.UNKNOWN:
                continue
            if result.verdict is Verdict.CONFIRMED or _is_fact_without_listener(due, result):
                outcome.sent.append(due)
            elif due.not_taken_for >= self._rules.park_after:
                outcome.parked.append(Failure(due, result.told, 0))
            else:
                outcome.failed.append(Failure(due, result.told, delay_seconds(due.attempts)))
        return outcome

    async def _mark_for_sure(self, outcome: Sorted, fence: Fence) -> None:
        """Marks for as long as it takes PostgreSQL to be there: what was published must not be published again."""
        backoff = Backoff()
        while True:
            try:
                return await self._mark(outcome, fence)
            except StorageUnavailable as error:
                log.warning("relay.not_marked", confirmed=len(outcome.sent), error=str(error))
                await backoff.wait(asyncio.Event())

    async def _mark(self, outcome: Sorted, fence: Fence) -> None:
        if outcome.sent:
            marked = await self._database.run(lambda work: work.outbox.mark_sent(outcome.sent, fence))
            if marked < len(outcome.sent):
                log.warning("relay.fenced", confirmed=len(outcome.sent), marked=marked)
                self._leases.doubt()
        if outcome.failed:
            await self._database.run(lambda work: work.outbox.mark_failed(outcome.failed, fence))
        if outcome.parked:
            await self._database.run(lambda work: work.outbox.park(outcome.parked, fence))
        for failure in outcome.parked:
            self._metrics.parked.labels("OUT", "NOT_TAKEN").inc()
            log.error("relay.parked", order_id=str(failure.due.event.order_id), type=failure.due.event.type.value)

    def _count(self, results: Iterable[tuple[DueEvent, str]]) -> None:
        for (event_type, result), count in Counter((due.event.type, result) for due, result in results).items():
            self._metrics.relay_messages.labels(event_type.value, result).inc(count)

    def _connected(self, connected: bool, wrong: str = "") -> None:
        self._metrics.broker_connected.labels("relay").set(connected)
        self._readiness.report("rabbitmq (relay)", wrong)


def _counted(verdict: Verdict) -> str:
    return "failed" if verdict in (Verdict.UNKNOWN, Verdict.REFUSED) else verdict.value


def _is_fact_without_listener(due: DueEvent, result: Published) -> bool:
    return result.verdict is Verdict.RETURNED and due.event.type not in REQUESTS


def _outgoing(due: DueEvent, traceparents: Mapping[UUID, str]) -> Outgoing:
    event = due.event
    return Outgoing(
        event_id=event.event_id,
        type=event.type.value,
        order_id=event.order_id,
        occurred_at=event.occurred_at,
        traceparent=traceparents.get(event.event_id, event.traceparent),
        body=event.payload.encode(),
    )
