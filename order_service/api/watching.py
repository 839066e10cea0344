"""Tells watchers of orders what happens to them, with one query for all watchers of this process."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from uuid import UUID

import structlog

from order_service.domain.errors import ServiceUnavailable
from order_service.loops import wait_for_any, wait_for_event
from order_service.storage.database import Database
from order_service.storage.events import Change
from order_service.storage.unit_of_work import UnitOfWork

log: Final = structlog.get_logger()

POLL_SECONDS: Final = 0.05
_SHUTTING_DOWN: Final = ServiceUnavailable("the server is shutting down")


@dataclass(eq=False, slots=True)
class Watch:
    """One watcher: which order, from when, and up to which version it has been told."""

    order_id: UUID
    since: datetime
    version: int
    told: asyncio.Queue[Change | ServiceUnavailable] = field(default_factory=asyncio.Queue)


class Watching:
    """Polls the history for all that is being watched."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._watches: set[Watch] = set()
        self._watched = asyncio.Event()
        self._ended = False

    async def changes(self, order_id: UUID, since: datetime, version: int) -> AsyncIterator[Change]:
        """What happens to an order above a version, as it happens. Raises ServiceUnavailable when it cannot tell any
        longer."""
        if self._ended:
            raise _SHUTTING_DOWN
        watch = Watch(order_id, since, version)
        self._watches.add(watch)
        self._watched.set()
        try:
            while True:
                told = await watch.told.get()
                if isinstance(told, ServiceUnavailable):
                    raise told
                yield told
        finally:
            self._watches.discard(watch)
            if not self._watches:
                self._watched.clear()

    async def run(self, stopping: asyncio.Event) -> None:
        """Polls while anything is watched, until `stopping` is set; then lets every watcher go."""
        while not stopping.is_set():
            await wait_for_any(stopping, self._watched)
            if self._watches:
                await self.run_once()
                await wait_for_event(stopping, POLL_SECONDS)
        self._ended = True
        self._let_go(_SHUTTING_DOWN)

    async def run_once(self) -> int:
        """Tells each watcher what is new to it; returns how much that was."""
        watches = tuple(self._watches)
        seen: dict[UUID, tuple[int, datetime]] = {}
        for watch in watches:
            version, since = seen.get(watch.order_id, (watch.version, watch.since))
            seen[watch.order_id] = (min(version, watch.version), since)
        try:
            async with self._database.read() as unit_of_work:
                changes = await _changes(unit_of_work, seen)
        except ServiceUnavailable as error:
            log.warning("watching.unavailable", error=str(error))
            self._let_go(error)
            return 0
        return sum(_tell(watch, changes) for watch in watches)

    def _let_go(self, error: ServiceUnavailable) -> None:
        for watch in self._watches:
            watch.told.put_nowait(error)


async def _changes(unit_of_work: UnitOfWork, seen: dict[UUID, tuple[int, datetime]]) -> dict[UUID, list[Change]]:
    by_order: dict[UUID, list[Change]] = {}
    for change in await unit_of_work.events.changes(seen):
        by_order.setdefault(change.order_id, []).append(change)
    return by_order


def _tell(watch: Watch, changes: dict[UUID, list[Change]]) -> int:
    new = [change for change in changes.get(watch.order_id, ()) if change.version > watch.version]
    for change in new:
        watch.told.put_nowait(change)
        watch.version = change.version
    return len(new)
