"""Forgets what is older than its window, and makes room for the months to come."""

from datetime import timedelta
from typing import Final

from order_service.storage.database import Database

_BATCH: Final = 1_000
_MONTHS_AHEAD: Final = 3


class Housekeeping:
    """One round forgets a batch of old inbox rows and idempotency keys, and sees to partitions."""

    def __init__(self, database: Database, inbox_keep: timedelta, request_id_keep: timedelta) -> None:
        self._database = database
        self._inbox_keep = inbox_keep.total_seconds()
        self._request_id_keep = request_id_keep.total_seconds()

    async def round(self) -> int:
        """Returns how many rows were forgotten. Raises StorageUnavailable."""
        seen = await self._database.run(lambda work: work.inbox.delete_old(self._inbox_keep, _BATCH))
        keys = await self._database.run(lambda work: work.create_requests.delete_old(self._request_id_keep, _BATCH))
        await self._database.run(lambda work: work.events.ensure_partitions(_MONTHS_AHEAD))
        return seen + keys
