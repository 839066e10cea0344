"""Tries parked replies again when they are due."""

import asyncio
from datetime import timedelta
from typing import Final

import structlog

from order_service.domain.errors import StorageUnavailable
from order_service.messages.incoming import STEP_OF
from order_service.storage.database import Database
from order_service.storage.parked_messages import Postponed, Retry
from order_service.storage.unit_of_work import UnitOfWork
from order_service.telemetry.metrics import Metrics
from order_service.use_cases.advance_sagas import SagaRules, count_advances
from order_service.use_cases.apply_replies import ReplyOutcome
from order_service.use_cases.retry_parked_replies import REFUSED, Retried, retry_parked_replies

log: Final = structlog.get_logger()

_BATCH: Final = 100


class ParkedRetries:
    """One round tries what is due."""

    def __init__(
        self, database: Database, retry_for: timedelta, rules: SagaRules, metrics: Metrics, hint: asyncio.Event
    ) -> None:
        self._database = database
        self._retry_for = retry_for.total_seconds()
        self._rules = rules
        self._metrics = metrics
        self._hint = hint

    async def round(self) -> int:
        """Tries up to a batch of messages; returns how many had their effect. Raises StorageUnavailable."""
        handled = await self._try(_BATCH) if await self._any_due() else 0
        if handled:
            self._hint.set()
        return handled

    async def _any_due(self) -> bool:
        """Mostly nothing is, and to see that takes no transaction. What another worker is trying is not due."""
        async with self._database.read() as unit_of_work:
            return bool(await unit_of_work.parked.claim_due(1))

    async def _try(self, limit: int) -> int:
        """A batch that fails is tried again one by one; one that fails alone is left to an operator, lest it starve the
        others."""
        claimed: list[Retry] = []
        try:
            retried = await self._database.run(lambda work: self._retry(work, claimed, limit))
        except StorageUnavailable:
            raise
        except Exception as error:
            if not claimed:
                raise
            if limit > 1:
                return sum([await self._try(1) for _ in claimed])
            log.exception("parked.refused", parked_id=claimed[0].parked_id)
            reason = f"{type(error).__name__}: {error}"[:500]
            refused = Postponed(claimed[0].parked_id, None, REFUSED, reason)
            await self._database.run(lambda work: work.parked.postpone([refused]))
            retried = Retried((), (refused,), ())
        self._count(retried)
        return sum(outcome is not ReplyOutcome.UNKNOWN for _, outcome in retried.outcomes)

    async def _retry(self, unit_of_work: UnitOfWork, claimed: list[Retry], limit: int) -> Retried:
        claimed[:] = await unit_of_work.parked.claim_due(limit)
        return await retry_parked_replies(unit_of_work, claimed, self._retry_for, self._rules)

    def _count(self, retried: Retried) -> None:
        for source, outcome in retried.outcomes:
            if outcome is not ReplyOutcome.UNKNOWN:
                self._metrics.replies.labels(STEP_OF[source].value, outcome.value).inc()
        for message in retried.given_up:
            self._metrics.parked.labels("IN", message.reason_code).inc()
            log.error("parked.left_to_operator", parked_id=message.parked_id, reason_code=message.reason_code)
        count_advances(self._metrics, retried.advances)
