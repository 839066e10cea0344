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
_PUT_OFF_SECONDS: Final = (60.0, 3_600.0)
"""At least and at most; between them, by as long as a saga has waited already: so tries become rarer."""


class Deadlines:
    """Cancels what is due, in turns from both ends: the sagas that are longest overdue, and those that became due last.
    However many cannot be dealt with, fresh ones do not wait for them."""

    def __init__(self, database: Database, rules: SagaRules, metrics: Metrics, hint: asyncio.Event) -> None:
        self._database = database
        self._rules = rules
        self._metrics = metrics
        self._hint = hint
        self._longest_next = True

    async def round(self) -> int:
        """Deals with a batch; returns how many orders it ended. Raises StorageUnavailable."""
        async with self._database.read() as unit_of_work:
            sagas = unit_of_work.sagas
            due = await (sagas.longest_due(_BATCH) if self._longest_next else sagas.last_due(_BATCH))
        self._longest_next = not self._longest_next
        ended = await self._expire(due) if due else 0
        if ended:
            self._hint.set()
        return ended

    async def _expire(self, order_ids: Sequence[UUID]) -> int:
        """A batch that fails is halved until the culprit is alone, and only that is put off; so are sagas that cannot
        be read, or that their deadline does not move, unless another worker has moved them meanwhile."""
        try:
            advances = await self._database.run(lambda work: expire_sagas(work, order_ids, self._rules))
        except StorageUnavailable:
            raise
        except Exception:
            if len(order_ids) > 1:
                middle = len(order_ids) // 2
                return await self._expire(order_ids[:middle]) + await self._expire(order_ids[middle:])
            log.exception("deadlines.failed", order_id=str(order_ids[0]))
            await self._put_off(order_ids)
            return 0
        count_advances(self._metrics, advances)
        ended = {done.order.order_id for done in advances if done.settled is not None}
        await self._put_off([order_id for order_id in order_ids if order_id not in ended])
        return len(ended)

    async def _put_off(self, order_ids: Sequence[UUID]) -> None:
        if order_ids:
            count = await self._database.run(lambda work: work.sagas.postpone(order_ids, *_PUT_OFF_SECONDS))
            if count:
                log.warning("deadlines.put_off", sagas=count, order_id=str(order_ids[0]))
