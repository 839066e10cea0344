"""Cancels orders whose saga has waited until its deadline."""

import asyncio
from collections.abc import Sequence
from typing import Final
from uuid import UUID

import structlog

from order_service.domain.errors import StorageUnavailable
from order_service.storage.database import Database
from order_service.telemetry.metrics import Metrics
from order_service.use_cases.advance_sagas import SagaRules, count_advances
from order_service.use_cases.expire_sagas import expire_sagas

log: Final = structlog.get_logger()

_BATCH: Final = 200
_PUT_OFF_SECONDS: Final = 60.0


class Deadlines:
    """One round cancels what is due."""

    def __init__(self, database: Database, rules: SagaRules, metrics: Metrics, hint: asyncio.Event) -> None:
        self._database = database
        self._rules = rules
        self._metrics = metrics
        self._hint = hint

    async def round(self) -> int:
        """Deals with up to a batch of due sagas; returns how many were due. Raises StorageUnavailable."""
        async with self._database.read() as unit_of_work:
            due = await unit_of_work.sagas.due(_BATCH)
        if due:
            await self._expire(due)
            self._hint.set()
        return len(due)

    async def _expire(self, order_ids: Sequence[UUID]) -> None:
        """A batch that fails is halved until the culprit is alone, and only that is put off; so is a saga that its
        deadline does not move, unless another worker has moved it meanwhile."""
        try:
            advances = await self._database.run(lambda work: expire_sagas(work, order_ids, self._rules))
        except StorageUnavailable:
            raise
        except Exception:
            if len(order_ids) > 1:
                middle = len(order_ids) // 2
                await self._expire(order_ids[:middle])
                await self._expire(order_ids[middle:])
                return
            log.exception("deadlines.put_off", order_id=str(order_ids[0]))
            await self._database.run(lambda work: work.sagas.postpone(order_ids, _PUT_OFF_SECONDS))
        else:
            count_advances(self._metrics, advances)
            still_due = [done.order.order_id for done in advances if done.settled is None]
            if still_due:
                await self._database.run(lambda work: work.sagas.postpone(still_due, _PUT_OFF_SECONDS))
