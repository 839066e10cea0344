"""Keeps this relay's leases on buckets of the outbox."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Final
from uuid import UUID

import structlog

from order_service.domain.errors import OrderServiceError, StorageUnavailable
from order_service.loops import until_tick, wait_for_event
from order_service.storage.database import Database
from order_service.storage.outbox import Fence
from order_service.storage.unit_of_work import UnitOfWork
from order_service.telemetry.metrics import Metrics

TTL_SECONDS: Final = 1.25
"""How long a lease holds without being renewed: a relay that died is taken over within this, one renewal and what that
waits."""

RENEW_SECONDS: Final = 0.3
BETWEEN_WINDOWS_SECONDS: Final = 0.2
"""How long a renewal waits for what is in flight to be marked, at most."""

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
        self._in_flight = asyncio.Lock()
        self._standing_back = False

    @asynccontextmanager
    async def window(self) -> AsyncIterator[Fence]:
        """What may be sent now; none of it is given up to another relay before the block ends."""
        async with self._in_flight:
            yield self.fence()

    def fence(self) -> Fence:
        """What may be sent now: nothing once the leases have run out, whatever stopped them from being renewed."""
        return Fence(self.owner, self._epochs if self._clock() < self._valid_until else {})

    def doubt(self) -> None:
        """Another relay has taken over although the time was not up by our clock, as after the machine stood still:
        nothing may be sent until the next renewal says what is held."""
        self._valid_until = 0.0

    def stand_back(self, for_now: bool) -> None:
        """Lets go of everything at the next renewal, and takes nothing, for as long as this relay has no broker to
        send to: others may have one. A connection that is back by then costs nothing."""
        self._standing_back = for_now

    async def run(self, stopping: asyncio.Event) -> None:
        """Renews until `stopping` is set, then lets go of everything."""
        while not stopping.is_set():
            try:
                await self.run_once()
            except OrderServiceError as error:
                log.warning("leases.not_renewed", error=str(error))
            await wait_for_event(stopping, until_tick(RENEW_SECONDS))
        with suppress(StorageUnavailable):
            await self.release()

    async def run_once(self) -> None:
        """Renews, and takes or gives up buckets so that live relays have fair shares. Raises StorageUnavailable.

        Gives up only between two windows: another relay would send again what is in flight."""
        if self._standing_back:
            if self._epochs:
                await self.release()
            return
        between_windows = await self._wait_for_window()
        held = bool(self._epochs)
        try:
            asked_at, self._epochs = await self._renewed(between_windows)
        finally:
            if between_windows:
                self._in_flight.release()
        if held:
            self._warn_if_late()
        self._valid_until = asked_at + TTL_SECONDS
        self._metrics.leased_buckets.set(len(self._epochs))

    async def release(self) -> None:
        """Lets go of everything, so that another relay can take over at once. Raises StorageUnavailable."""
        self._epochs = {}
        self._metrics.leased_buckets.set(0)
        await self._database.run(self._release)

    async def _renewed(self, let_go: bool) -> tuple[float, Mapping[int, int]]:
        """What is held, and since when that is known, by our clock: from before PostgreSQL was asked. While nothing
        changes one statement is all; what it cannot do, the transaction does. Raises StorageUnavailable."""
        if self.fence().epochs:
            asked_at = self._clock()
            if epochs := await self._stayed(let_go):
                return asked_at, epochs
        asked_at = self._clock()
        return asked_at, await self._database.run(lambda work: work.relay_leases.keep(self.owner, TTL_SECONDS, let_go))

    async def _stayed(self, let_go: bool) -> Mapping[int, int]:
        """Empty if it takes more than one statement. A connection that was lost does not count as a renewal that
        failed; a server that keeps silent for longer than a lease holds is not asked a second time."""
        began = self._clock()
        try:
            async with self._database.read() as unit_of_work:
                return await unit_of_work.relay_leases.stay(self.owner, TTL_SECONDS, let_go)
        except StorageUnavailable:
            if self._clock() > began + TTL_SECONDS:
                raise
            return {}

    def _warn_if_late(self) -> None:
        """Nothing else explains events that come twice although nobody died and no connection was lost."""
        late = self._clock() - self._valid_until
        if self._valid_until and late > 0:
            log.warning("leases.ran_out", seconds=round(late, 3))

    async def _wait_for_window(self) -> bool:
        """Whether what was in flight has been marked soon enough to renew in time; then no new window begins."""
        try:
            async with asyncio.timeout(BETWEEN_WINDOWS_SECONDS):
                return await self._in_flight.acquire()
        except TimeoutError:
            return False

    async def _release(self, unit_of_work: UnitOfWork) -> None:
        await unit_of_work.relay_leases.release(self.owner)
