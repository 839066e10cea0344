"""Measures what only the database knows: the backlog, and what is parked."""

from order_service.storage.database import Database
from order_service.telemetry.metrics import Metrics
from order_service.telemetry.readiness import Readiness


class Gauges:
    """One round measures everything once."""

    def __init__(self, database: Database, metrics: Metrics, readiness: Readiness) -> None:
        self._database = database
        self._metrics = metrics
        self._readiness = readiness

    async def round(self) -> int:
        """Always returns 0: measuring leaves nothing to do. Raises StorageUnavailable."""
        async with self._database.read() as unit_of_work:
            backlog = await unit_of_work.outbox.backlog()
            parked = await unit_of_work.parked.count()
        self._metrics.outbox_backlog.set(backlog.count)
        self._metrics.outbox_oldest.set(backlog.oldest_seconds)
        self._metrics.parked_waiting.labels("waiting").set(parked.waiting)
        self._metrics.parked_waiting.labels("retrying").set(parked.retrying)
        return 0
