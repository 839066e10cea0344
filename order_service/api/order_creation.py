"""CreateOrder's group commit: many requests, one transaction, one result for each."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import structlog
from opentelemetry import trace

from order_service.domain.errors import RequestIdReused, ServiceUnavailable, StorageRefused
from order_service.domain.order import Order
from order_service.storage.database import Database
from order_service.telemetry.metrics import Metrics
from order_service.telemetry.traces import context_from_traceparent, is_sampled, link_to
from order_service.use_cases.create_orders import OrderToCreate, Timeouts, create_orders

log: Final = structlog.get_logger()

Created = Order | RequestIdReused | StorageRefused


class OrderCreation:
    """Stores batches of orders."""

    def __init__(self, database: Database, timeouts: Timeouts, metrics: Metrics) -> None:
        self._database = database
        self._timeouts = timeouts
        self._metrics = metrics

    async def carry_out(self, batch: Sequence[OrderToCreate]) -> list[Created]:
        """One result for each. A batch that PostgreSQL refuses is halved until the culprit is alone: only that fails.
        Raises StorageUnavailable."""
        try:
            return await self._store(batch)
        except ServiceUnavailable:
            raise
        except Exception as error:
            if len(batch) == 1:
                log.error("create_orders.refused", exc_info=error)
                return [error if isinstance(error, StorageRefused) else StorageRefused(str(error))]
        middle = len(batch) // 2
        return [*await self.carry_out(batch[:middle]), *await self.carry_out(batch[middle:])]

    async def _store(self, batch: Sequence[OrderToCreate]) -> list[Created]:
        with _transaction_span(batch):
            results = await self._database.run(lambda work: create_orders(work, batch, self._timeouts))
        created = sum(is_new for _, is_new in results)
        self._metrics.orders.labels("PENDING").inc(created)
        self._metrics.create_batch.observe(len(batch))
        return [result for result, _ in results]


@contextmanager
def _transaction_span(batch: Sequence[OrderToCreate]) -> Iterator[None]:
    """A span for the transaction, within the trace of the first request that is sampled, linked to the others'."""
    sampled = [ask.traceparent for ask in batch if is_sampled(ask.traceparent)]
    if not sampled:
        yield
        return
    with trace.get_tracer("order_service.storage").start_as_current_span(
        "COMMIT orders",
        context=context_from_traceparent(sampled[0]),
        kind=trace.SpanKind.CLIENT,
        links=[link for other in sampled[1:] for link in link_to(other)],
        attributes={"db.system.name": "postgresql", "db.operation.batch.size": len(batch)},
    ):
        yield
