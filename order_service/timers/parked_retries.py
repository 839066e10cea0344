"""Tries parked replies again when they are due."""

import asyncio
from datetime import timedelta
from typing import Final

import structlog

from order_service.messages.incoming import STEP_OF
from order_service.storage.database import Database
from order_service.telemetry.metrics import Metrics
from order_service.use_cases.advance_sagas import SagaRules, count_advances
from order_service.use_cases.apply_replies import ReplyOutcome
from order_service.use_cases.retry_parked_replies import Retried, retry_parked_replies

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
        retried = await self._database.run(
            lambda work: retry_parked_replies(work, _BATCH, self._retry_for, self._rules)
        )
        self._count(retried)
        handled = sum(outcome is not ReplyOutcome.UNKNOWN for _, outcome in retried.outcomes)
        if handled:
            self._hint.set()
        return handled

    def _count(self, retried: Retried) -> None:
        for source, outcome in retried.outcomes:
            if outcome is not ReplyOutcome.UNKNOWN:
                self._metrics.replies.labels(STEP_OF[source].value, outcome.value).inc()
        for message in retried.given_up:
            self._metrics.parked.labels("IN", message.reason_code).inc()
            log.error("parked.left_to_operator", parked_id=message.parked_id, reason_code=message.reason_code)
        count_advances(self._metrics, retried.advances)
