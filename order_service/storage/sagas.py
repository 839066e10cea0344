"""How far each order's saga has come."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar
from uuid import UUID

from order_service.saga.engine import Saga, SagaState, steps_in_order
from order_service.storage.rows import rows
from order_service.storage.table import Table


@dataclass(frozen=True, slots=True)
class SagaAtTime:
    """A saga, and PostgreSQL's clock when it was read."""

    saga: Saga
    now: datetime


class Sagas(Table):
    """The statements on `sagas`."""

    name: ClassVar[str] = "sagas"

    async def insert(self, sagas: Sequence[tuple[Saga, str]]) -> None:
        """Stores sagas that start now, each with the trace it starts in. PostgreSQL's clock counts their deadlines."""
        await self._execute("insert", rows=rows([_start_row(saga, traceparent) for saga, traceparent in sagas]))

    async def update(self, sagas: Sequence[Saga]) -> None:
        """Writes how far sagas have come. Their orders must be locked."""
        if sagas:
            await self._execute("update", rows=rows([_row(saga) for saga in sagas]))

    async def longest_due(self, limit: int) -> list[UUID]:
        """The orders whose saga's deadline has passed, longest overdue first."""
        return await self._all("longest_due", lambda order_id: order_id, limit=limit)

    async def last_due(self, limit: int) -> list[UUID]:
        """The same, the last one that became due first."""
        return await self._all("last_due", lambda order_id: order_id, limit=limit)

    async def postpone(self, order_ids: Collection[UUID], least_seconds: float, most_seconds: float) -> int:
        """Moves deadlines that have passed, lest sagas that could not be dealt with starve the others: each by as long
        as it has waited already, between the bounds. Returns how many it moved."""
        return await self._count(
            "postpone", order_ids=list(order_ids), least_seconds=least_seconds, most_seconds=most_seconds
        )

    async def get(self, order_id: UUID) -> SagaAtTime | None:
        """One saga, or None."""
        return await self._one(
            "get", lambda *columns: SagaAtTime(saga_of(*columns[:-1]), columns[-1]), order_id=order_id
        )


def saga_of(
    order_id: UUID,
    state: str,
    steps: Mapping[str, str],
    asked_at: datetime | None,
    deadline_at: datetime | None,
) -> Saga:
    """A saga out of its columns."""
    return Saga(order_id, SagaState(state), steps_in_order(steps), asked_at, deadline_at)


def _start_row(saga: Saga, traceparent: str) -> dict[str, object]:
    if saga.asked_at is None or saga.deadline_at is None:
        raise ValueError("a saga starts with a step that is asked")
    timeout = saga.deadline_at - saga.asked_at
    return {
        "order_id": saga.order_id,
        "steps": saga.steps,
        "timeout_seconds": timeout.total_seconds(),
        "traceparent": traceparent or None,
    }


def _row(saga: Saga) -> dict[str, object]:
    return {
        "order_id": saga.order_id,
        "state": saga.state,
        "steps": saga.steps,
        "asked_at": saga.asked_at,
        "deadline_at": saga.deadline_at,
    }
