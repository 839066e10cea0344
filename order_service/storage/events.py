"""The history of every order, and with it the only way to send a message."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Final
from uuid import UUID

from order_service.domain.events import EventType, OrderEvent
from order_service.domain.status import OrderStatus
from order_service.messages.outgoing import encode
from order_service.storage.rows import rows
from order_service.storage.table import Table

BUCKETS: Final = 64
"""Into so many parts the outbox is divided among relays. All events of one order are in one."""

FETCHED_BYTES: Final = 4 * 2**20
"""An order of a thousand items with the longest ids is a megabyte: what is fetched at once for publishing is bounded by
size as well, or some hundred such orders would take all the memory of a process, at each start anew."""


@dataclass(frozen=True, slots=True)
class RecordedEvent:
    """One line of an order's history. `confirmed_at`: when the broker took responsibility, None if it has not yet."""

    event_id: UUID
    type: EventType
    version: int
    status: OrderStatus
    occurred_at: datetime
    body: str
    confirmed_at: datetime | None


@dataclass(frozen=True, slots=True)
class Change:
    """A step in an order's life, as watchers see it."""

    order_id: UUID
    version: int
    status: OrderStatus
    occurred_at: datetime


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event as it is published: everything that goes on the wire."""

    order_id: UUID
    version: int
    event_id: UUID
    type: EventType
    occurred_at: datetime
    traceparent: str
    payload: str


@dataclass(frozen=True, slots=True)
class ReplayRange:
    """Which part of the history to publish again: from (inclusive) until (exclusive), and which types."""

    from_time: datetime
    until_time: datetime
    types: Collection[EventType]


class Events(Table):
    """The statements on `order_events` and `event_confirmations`."""

    name: ClassVar[str] = "events"

    async def append(self, events: Sequence[OrderEvent]) -> None:
        """Adds events to the history and, those that are new to it, to the outbox."""
        if events:
            await self._execute("append", rows=rows([_row(event) for event in events]))

    async def page(self, order_id: UUID, since: datetime, above: int, limit: int) -> list[RecordedEvent]:
        """An order's history above a version, oldest first. `since` is when the order was created."""
        return await self._all("page", _recorded_event, order_id=order_id, since=since, above=above, limit=limit)

    async def changes(self, seen: Mapping[UUID, tuple[int, datetime]]) -> list[Change]:
        """What happened to orders above the version seen of each, in version order. With each version goes the time
        since which to look: the order's creation."""
        watched = [
            {"order_id": order_id, "version": version, "since": since} for order_id, (version, since) in seen.items()
        ]
        return await self._all(
            "changes",
            lambda order_id, version, status, at: Change(order_id, version, OrderStatus(status), at),
            rows=rows(watched),
        )

    async def replay(self, wanted: ReplayRange, after: StoredEvent | None, limit: int) -> list[StoredEvent]:
        """A part of the history after an event of it, in an order that keeps each order's versions in theirs. At most
        `limit` events, and none after those whose bodies have reached FETCHED_BYTES together."""
        return await self._all(
            "replay",
            stored_event,
            until_time=wanted.until_time,
            types=[type.value for type in wanted.types],
            after_time=after.occurred_at if after else wanted.from_time,
            after_order_id=after.order_id if after else UUID(int=0),
            after_version=after.version if after else 0,
            limit=limit,
            most_bytes=FETCHED_BYTES,
        )

    async def count_replay(self, wanted: ReplayRange) -> dict[EventType, int]:
        """How many events of each type a part of the history holds."""
        counted = await self._all(
            "count_replay",
            lambda type, count: (EventType(type), count),
            from_time=wanted.from_time,
            until_time=wanted.until_time,
            types=[type.value for type in wanted.types],
        )
        return dict(counted)

    async def ensure_partitions(self, months_ahead: int) -> None:
        """Makes the history's monthly partitions up to so many months ahead."""
        await self._execute("ensure_partitions", months_ahead=months_ahead)


def bucket_of(order_id: UUID) -> int:
    """The bucket of an order's events: the last bits of a UUIDv7 are random."""
    return order_id.int % BUCKETS


def stored_event(
    order_id: UUID,
    version: int,
    event_id: UUID,
    type: str,
    occurred_at: datetime,
    traceparent: str | None,
    payload: str,
) -> StoredEvent:
    """An event out of its columns."""
    return StoredEvent(order_id, version, event_id, EventType(type), occurred_at, traceparent or "", payload)


def _recorded_event(
    event_id: UUID,
    type: str,
    version: int,
    status: str,
    occurred_at: datetime,
    body: str,
    confirmed_at: datetime | None,
) -> RecordedEvent:
    return RecordedEvent(event_id, EventType(type), version, OrderStatus(status), occurred_at, body, confirmed_at)


def _row(event: OrderEvent) -> dict[str, object]:
    return {
        "order_id": event.order_id,
        "version": event.version,
        "event_id": event.event_id,
        "user_id": event.user_id,
        "type": event.type,
        "status": event.status,
        "occurred_at": event.occurred_at,
        "traceparent": event.traceparent or None,
        "payload": encode(event),
        "bucket": bucket_of(event.order_id),
    }
