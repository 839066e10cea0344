"""Keeps this relay's leases on buckets of the outbox."""

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final
from uuid import UUID

import structlog

from order_service.domain.errors import OrderServiceError, StorageUnavailable
from order_service.loops import wait_for_event
from order_service.storage.database import Database
from order_service.storage.outbox import Fence
from order_service.storage.unit_of_work import UnitOfWork
from order_service.telemetry.metrics import Metrics

TTL_SECONDS: Final = 1.4
"""How long a lease holds without being renewed: a relay that died is taken over within this and one renewal."""

RENEW_SECONDS: Final = 0.35

log: Final = structlog.get_logger()


class Leases:
    """The buckets that this relay may send, as long as it keeps renewing them."""

    def __init__(
        self, database: Database, owner: UUID, metrics: Metrics, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.owner = owner
        self._database = database
        self._metrics = metrics
        self._clock = clock
        self._epochs: Mapping[int, int] = {}
        self._valid_until = 0.0

    def fence(self) -> Fence:
        """What may be sent now: nothing once the leases have run out, whatever stopped them from being renewed."""
        return Fence(self.owner, self._epochs if self._clock() < self._valid_until else {})

    async def run(self, stopping: asyncio.Event) -> None:
        """Renews until `stopping` is set, then lets go of everything."""
        while not stopping.is_set():
            try:
                await self.run_once()
            except OrderServiceError as error:
                log.warning("leases.not_renewed", error=str(error))
            await wait_for_event(stopping, RENEW_SECONDS)
        with suppress(StorageUnavailable):
            await self.release()

    async def run_once(self) -> None:
        """Renews, and takes or gives up buckets so that live relays have fair shares. Raises StorageUnavailable."""
        asked_at = self._clock()
        self._epochs = await self._database.run(self._keep)
        self._valid_until = asked_at + TTL_SECONDS
        self._metrics.leased_buckets.set(len(self._epochs))

    async def release(self) -> None:
        """Lets go of everything, so that another relay can take over at once. Raises StorageUnavailable."""
        self._epochs = {}
        await self._database.run(self._release)

    async def _keep(self, unit_of_work: UnitOfWork) -> dict[int, int]:
        return await unit_of_work.relay_leases.keep(self.owner, TTL_SECONDS)

    async def _release(self, unit_of_work: UnitOfWork) -> None:
        await unit_of_work.relay_leases.release(self.owner)
