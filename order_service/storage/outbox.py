"""What is still to be sent. Filled by `Events.append` only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar
from uuid import UUID

from order_service.domain.events import EventType
from order_service.storage.events import FETCHED_BYTES, StoredEvent, stored_event
from order_service.storage.rows import rows
from order_service.storage.table import Table


@dataclass(frozen=True, slots=True)
class UnsentEvent:
    """An event that waits in the outbox. `due_at` is None if it is parked."""

    type: EventType
    version: int
    attempts: int
    due_at: datetime | None
    last_failure: str


@dataclass(frozen=True, slots=True)
class DueEvent:
    """An event to send now, under the lease of its bucket. `not_taken_for` is how long ago it was first given back or
    refused, by the database's clock; zero if it never was."""

    event: StoredEvent
    bucket: int
    attempts: int
    due_at: datetime
    not_taken_for: timedelta


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an event was not sent, and after how many seconds to try again."""

    due: DueEvent
    told: str
    delay_seconds: float


@dataclass(frozen=True, slots=True)
class Backlog:
    """How many events wait (counted up to 100,000), and the age of the oldest in seconds. Without parked ones."""

    count: int
    oldest_seconds: float


@dataclass(frozen=True, slots=True)
class Fence:
    """Who marks, under which epoch of each bucket's lease. A mark under an epoch that has passed does nothing."""

    owner: UUID
    epochs: Mapping[int, int]


class Outbox(Table):
    """The statements on `outbox`."""

    name: ClassVar[str] = "outbox"

    async def fetch_due(self, since: Mapping[int, datetime], per_bucket: int, limit: int) -> list[DueEvent]:
        """The earliest unsent event of each order that is due, for each bucket from `since` on. At most `limit`, and
        none after those whose bodies have reached FETCHED_BYTES together."""
        buckets = [{"bucket": bucket, "since": start} for bucket, start in since.items()]
        return await self._all(
            "fetch_due",
            _due_event,
            buckets=rows(buckets),
            per_bucket=per_bucket,
            limit=limit,
            most_bytes=FETCHED_BYTES,
        )

    async def mark_sent(self, sent: Sequence[DueEvent], fence: Fence) -> int:
        """Removes what the broker has confirmed; returns how many, fewer than given if a lease was lost."""
        return await self._count("mark_sent", rows=rows([_mark(due, fence) for due in sent]), owner=fence.owner)

    async def mark_failed(self, failed: Sequence[Failure], fence: Fence) -> None:
        """Holds back what was not taken, each until its delay is over."""
        batch = [
            _mark(failure.due, fence) | {"failure": failure.told, "delay_seconds": failure.delay_seconds}
            for failure in failed
        ]
        await self._execute("mark_failed", rows=rows(batch), owner=fence.owner)

    async def park(self, failed: Sequence[Failure], fence: Fence) -> None:
        """Hands what was not taken for too long to the operator."""
        batch = [_mark(failure.due, fence) | {"failure": failure.told} for failure in failed]
        await self._execute("park", rows=rows(batch), owner=fence.owner)

    async def unpark(self, order_id: UUID, version: int) -> None:
        """Makes a parked event due again."""
        await self._execute("unpark", order_id=order_id, version=version)

    async def discard(self, order_id: UUID, version: int) -> None:
        """Gives up sending a parked event."""
        await self._execute("discard", order_id=order_id, version=version)

    async def unsent_of_order(self, order_id: UUID) -> list[UnsentEvent]:
        """What of one order has not reached the broker yet, in version order."""
        return await self._all("unsent_of_order", _unsent_event, order_id=order_id)

    async def backlog(self) -> Backlog:
        """How much waits."""
        found = await self._one("backlog", Backlog)
        return found or Backlog(0, 0.0)


def _mark(due: DueEvent, fence: Fence) -> dict[str, Any]:
    return {
        "order_id": due.event.order_id,
        "version": due.event.version,
        "bucket": due.bucket,
        "epoch": fence.epochs[due.bucket],
    }


def _due_event(
    order_id: UUID,
    version: int,
    bucket: int,
    event_id: UUID,
    type: str,
    occurred_at: datetime,
    traceparent: str | None,
    payload: str,
    attempts: int,
    due_at: datetime,
    not_taken_for: timedelta,
) -> DueEvent:
    event = stored_event(order_id, version, event_id, type, occurred_at, traceparent, payload)
    return DueEvent(event, bucket, attempts, due_at, not_taken_for)


def _unsent_event(type: str, version: int, attempts: int, due_at: datetime | None, failure: str | None) -> UnsentEvent:
    return UnsentEvent(EventType(type), version, attempts, due_at, failure or "")
