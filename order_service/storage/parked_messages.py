"""Messages that could not be handled or sent: kept until an operator redrives or discards them."""

import base64
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from order_service.storage.rows import rows
from order_service.storage.table import Table


@dataclass(frozen=True, slots=True)
class NewParked:
    """A received message to park. With `retry_seconds` it is tried again by itself after so long. `redelivered`: the
    broker has delivered it before, so it may be parked already."""

    source: str
    message_key: UUID
    reason_code: str
    reason: str
    body: bytes
    headers: Mapping[str, Any]
    order_id: UUID | None = None
    retry_seconds: float | None = None
    redelivered: bool = False


@dataclass(frozen=True, slots=True)
class Retry:
    """A parked message that is due for another try; `waited_seconds` since it was first seen."""

    parked_id: int
    source: str
    message_key: UUID
    body: bytes
    headers: Mapping[str, Any]
    attempts: int
    waited_seconds: float


@dataclass(frozen=True, slots=True)
class Postponed:
    """Tried again without success: when next, or None to leave it to an operator."""

    parked_id: int
    retry_seconds: float | None
    reason_code: str
    reason: str


@dataclass(frozen=True, slots=True)
class ParkedMessage:
    """A parked message. `direction` is IN (received) or OUT (an event that nobody takes). `retry_at` set: it is tried
    again by itself; None: it waits for an operator."""

    parked_id: int
    direction: str
    source: str
    order_id: UUID | None
    version: int | None
    reason_code: str
    reason: str
    size: int
    first_seen_at: datetime
    attempts: int
    retry_at: datetime | None
    body: bytes = b""
    headers: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class ParkedCount:
    """How many wait for an operator, and how many are tried again by themselves."""

    waiting: int
    retrying: int


class ParkedMessages(Table):
    """The statements on `parked_messages`."""

    name: ClassVar[str] = "parked_messages"

    async def insert(self, messages: Sequence[NewParked]) -> list[str]:
        """Parks received messages; returns the reason codes of those that were not parked already."""
        return await self._all("insert", lambda code: code, rows=rows([_row(message) for message in messages]))

    async def claim_due(self, limit: int) -> list[Retry]:
        """Messages to try again, locked until the transaction ends."""
        return await self._all("claim_due", Retry, limit=limit)

    async def postpone(self, postponed: Sequence[Postponed]) -> None:
        """Notes tries without success."""
        if postponed:
            await self._execute("postpone", rows=rows(postponed))

    async def delete(self, parked_ids: Collection[int]) -> int:
        """Removes messages that have been handled or discarded; returns how many."""
        return await self._count("delete", parked_ids=list(parked_ids))

    async def redrive(self, parked_id: int) -> None:
        """Makes a received message due for another try, as if it had just come."""
        await self._execute("redrive", parked_id=parked_id)

    async def page(self, above: int, limit: int) -> list[ParkedMessage]:
        """Parked messages with an id above `above`, oldest first, without bodies."""
        return await self._all("page", ParkedMessage, above=above, limit=limit)

    async def get(self, parked_id: int) -> ParkedMessage | None:
        """One parked message, whole and locked, or None."""
        return await self._one("get", ParkedMessage, parked_id=parked_id)

    async def count(self) -> ParkedCount:
        """How many there are."""
        return await self._one("count", ParkedCount) or ParkedCount(0, 0)


def _row(message: NewParked) -> dict[str, object]:
    return {
        "source": message.source,
        "message_key": message.message_key,
        "order_id": message.order_id,
        "reason_code": message.reason_code,
        "reason": message.reason,
        "body": base64.b64encode(message.body).decode(),
        "headers": message.headers,
        "retry_seconds": message.retry_seconds,
        "redelivered": message.redelivered,
    }
