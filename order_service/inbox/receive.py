"""Applies the replies of one queue, in batches."""

import asyncio
import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import structlog

from order_service.broker.consumer import Incoming, consuming
from order_service.broker.topology import REPLY_QUEUES
from order_service.domain.errors import ServiceUnavailable, StorageUnavailable
from order_service.inbox.headers import json_headers
from order_service.inbox.pipeline import AHEAD, Pipeline
from order_service.inbox.spans import processing
from order_service.loops import Backoff
from order_service.messages.incoming import UnreadableMessage, decode_reply
from order_service.saga.order_saga import StepName
from order_service.storage.database import Database
from order_service.storage.parked_messages import NewParked
from order_service.storage.unit_of_work import UnitOfWork
from order_service.telemetry.metrics import Metrics
from order_service.telemetry.readiness import Readiness
from order_service.use_cases.advance_sagas import SagaRules, count_advances
from order_service.use_cases.apply_replies import Applied, Reply, ReplyOutcome, apply_replies
from order_service.use_cases.retry_parked_replies import FIRST_RETRY_SECONDS, REFUSED, UNKNOWN_ORDER, UNREADABLE

log: Final = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Readable:
    """A received message and the reply it holds."""

    message: Incoming
    reply: Reply


class Receiver:
    """Consumes the replies to one step of the saga."""

    def __init__(
        self,
        step: StepName,
        database: Database,
        urls: Sequence[str],
        prefetch: int,
        rules: SagaRules,
        metrics: Metrics,
        readiness: Readiness,
        hint: asyncio.Event,
    ) -> None:
        self._step = step
        self._queue = REPLY_QUEUES[step]
        self._database = database
        self._urls = urls
        self._prefetch = prefetch
        self._rules = rules
        self._metrics = metrics
        self._readiness = readiness
        self._hint = hint
        self._connected(False, "not connected yet")

    async def run(self, stopping: asyncio.Event) -> None:
        """Consumes until `stopping` is set."""
        backoff = Backoff()
        while not stopping.is_set():
            try:
                async with consuming(self._urls, self._queue.name, AHEAD * self._prefetch) as consumer:
                    self._connected(True)
                    backoff.reset()
                    await Pipeline(consumer, self._prefetch, self._handle_for_sure).run(stopping)
            except ServiceUnavailable as error:
                self._connected(False, str(error))
                self._metrics.loop_failures.labels("consumer").inc()
                log.warning("consumer.unavailable", queue=self._queue.name, error=str(error))
                await backoff.wait(stopping)

    async def _handle_for_sure(self, batch: Sequence[Incoming], ending: asyncio.Event) -> bool:
        """Handles a batch, for as long as it takes PostgreSQL to be there; false if `ending` is set before."""
        backoff = Backoff()
        while not ending.is_set():
            try:
                await self.handle(batch)
            except StorageUnavailable as error:
                self._readiness.report("postgresql", str(error))
                log.warning("consumer.storage_unavailable", queue=self._queue.name, error=str(error))
                await backoff.wait(ending)
            else:
                return True
        return False

    async def handle(self, batch: Sequence[Incoming]) -> None:
        """Lets a batch have its effect, or parks what cannot. Raises StorageUnavailable, and then nothing is done."""
        with processing(batch, self._queue) as traceparents:
            readable, unreadable = self._decode(batch, traceparents)
            try:
                applied = await self._database.run(lambda work: self._apply(work, readable, unreadable))
            except StorageUnavailable:
                raise
            except Exception as error:
                await self._halve(batch, error)
                return
        self._count(applied, len(unreadable))

    async def _apply(
        self, unit_of_work: UnitOfWork, readable: Sequence[Readable], unreadable: Sequence[NewParked]
    ) -> Applied:
        applied = await apply_replies(unit_of_work, self._queue.source, [one.reply for one in readable], self._rules)
        unknown = [
            self._parked(one.message, UNKNOWN_ORDER, "there is no such order", one.reply.order_id)
            for one, outcome in zip(readable, applied.outcomes, strict=True)
            if outcome is ReplyOutcome.UNKNOWN
        ]
        if unknown or unreadable:
            await unit_of_work.parked.insert([*unknown, *unreadable])
        return applied

    async def _halve(self, batch: Sequence[Incoming], error: Exception) -> None:
        """Finds the message that makes a batch fail, and parks only that."""
        if len(batch) > 1:
            middle = len(batch) // 2
            await self.handle(batch[:middle])
            await self.handle(batch[middle:])
            return
        log.error("consumer.parked", queue=self._queue.name, reason_code=REFUSED, exc_info=error)
        parked = self._parked(batch[0], REFUSED, f"{type(error).__name__}: {error}"[:500])
        await self._database.run(lambda work: work.parked.insert([parked]))
        self._count_parked(1, REFUSED)

    def _decode(self, batch: Sequence[Incoming], traceparents: Sequence[str]) -> tuple[list[Readable], list[NewParked]]:
        readable: list[Readable] = []
        unreadable: list[NewParked] = []
        for message, traceparent in zip(batch, traceparents, strict=True):
            try:
                order_id, received = decode_reply(self._step, message.body)
            except UnreadableMessage as error:
                unreadable.append(self._parked(message, UNREADABLE, str(error)))
                continue
            readable.append(Readable(message, Reply(message_key(message), order_id, received, traceparent)))
        return readable, unreadable

    def _parked(self, message: Incoming, code: str, reason: str, order_id: UUID | None = None) -> NewParked:
        return NewParked(
            source=self._queue.source,
            message_key=message_key(message),
            reason_code=code,
            reason=reason,
            body=message.body,
            headers=json_headers(message.headers),
            order_id=order_id,
            retry_seconds=FIRST_RETRY_SECONDS if code == UNKNOWN_ORDER else None,
            redelivered=message.redelivered,
        )

    def _count(self, applied: Applied, unreadable: int) -> None:
        self._readiness.report("postgresql")
        for outcome, count in Counter(applied.outcomes).items():
            self._metrics.replies.labels(self._step.value, outcome.value).inc(count)
            if outcome is ReplyOutcome.IGNORED:
                log.warning("consumer.reply_ignored", queue=self._queue.name, count=count)
        if unreadable:
            self._count_parked(unreadable, UNREADABLE)
            log.error("consumer.parked", queue=self._queue.name, reason_code=UNREADABLE, count=unreadable)
        count_advances(self._metrics, applied.advances)
        self._hint.set()

    def _count_parked(self, count: int, code: str) -> None:
        self._metrics.parked.labels("IN", code).inc(count)
        self._metrics.replies.labels(self._step.value, "parked").inc(count)

    def _connected(self, connected: bool, wrong: str = "") -> None:
        self._metrics.broker_connected.labels(f"consumer {self._step.value}").set(connected)
        self._readiness.report(f"rabbitmq ({self._step.value} consumer)", wrong)


def message_key(message: Incoming) -> UUID:
    """Equal for the same message delivered again: made from its content, and its id if it has one."""
    digest = hashlib.blake2b(message.body, digest_size=16, key=message.message_id.encode()[:64])
    return UUID(bytes=digest.digest())
