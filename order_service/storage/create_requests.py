"""The idempotency keys of CreateOrder (AIP-155), for each user."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import ClassVar
from uuid import UUID

from order_service.storage.rows import rows
from order_service.storage.table import Table


@dataclass(frozen=True, slots=True)
class CreateRequest:
    """A key, the content it was used with, and the order it stands for."""

    user_id: str
    request_id: str
    fingerprint: str
    order_id: UUID


class CreateRequests(Table):
    """The statements on `create_requests`."""

    name: ClassVar[str] = "create_requests"

    async def insert(self, requests: Sequence[CreateRequest]) -> set[UUID]:
        """Claims keys; returns the order ids of those that were free. Waits while a claim of another transaction is
        undecided."""
        return set(await self._all("insert", lambda order_id: order_id, rows=rows(requests)))

    async def get(self, keys: Collection[tuple[str, str]]) -> dict[tuple[str, str], CreateRequest]:
        """What (user_id, request_id) pairs stand for."""
        wanted = [{"user_id": user_id, "request_id": request_id} for user_id, request_id in keys]
        found = await self._all("get", CreateRequest, rows=rows(wanted))
        return {(request.user_id, request.request_id): request for request in found}

    async def delete_old(self, keep_seconds: float, limit: int) -> int:
        """Forgets up to `limit` keys that are older than the window; returns how many."""
        return await self._count("delete_old", keep_seconds=keep_seconds, limit=limit)
