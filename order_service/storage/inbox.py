"""Which messages have had their effect."""

from collections.abc import Collection
from typing import ClassVar
from uuid import UUID

from order_service.storage.table import Table


class Inbox(Table):
    """The statements on `inbox`."""

    name: ClassVar[str] = "inbox"

    async def insert(self, consumer: str, message_keys: Collection[UUID]) -> set[UUID]:
        """Notes messages as handled; returns those that were not noted before."""
        return set(await self._all("insert", lambda key: key, consumer=consumer, message_keys=list(message_keys)))

    async def delete(self, consumer: str, message_keys: Collection[UUID]) -> None:
        """Forgets messages that turned out not to have had their effect."""
        await self._execute("delete", consumer=consumer, message_keys=list(message_keys))

    async def delete_old(self, keep_seconds: float, limit: int) -> int:
        """Forgets up to `limit` messages that are older than the window; returns how many."""
        return await self._count("delete_old", keep_seconds=keep_seconds, limit=limit)
