"""`order.OrderService`: each RPC, from its request to its answer."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from order_service.api import requests
from order_service.api.answers import event_answer, explanation_answer, order_answer
from order_service.api.batching import Batcher
from order_service.api.errors import status_of
from order_service.api.order_creation import Created
from order_service.api.watching import Watching
from order_service.domain.errors import InvalidRequest, OrderNotFound, OrderServiceError, ServiceUnavailable
from order_service.domain.order import Order
from order_service.domain.status import FINAL_STATUSES, OrderStatus
from order_service.pb import order_pb2, order_pb2_grpc
from order_service.storage.database import Database
from order_service.telemetry.metrics import Metrics
from order_service.telemetry.traces import current_traceparent
from order_service.use_cases.advance_sagas import SagaRules, count_advances
from order_service.use_cases.cancel_order import cancel_order
from order_service.use_cases.create_orders import OrderToCreate
from order_service.use_cases.explain_order import explain_order
from order_service.use_cases.read_orders import Wanted, get_orders, list_order_events

_SETTLED = FINAL_STATUSES | {OrderStatus.CONFIRMED}
Result = order_pb2.BatchCreateOrdersResponse.Result


@dataclass(frozen=True, slots=True)
class Collaborators:
    """What the RPCs work with."""

    database: Database
    creation: Batcher[OrderToCreate, Created]
    reading: Batcher[Wanted, Order | OrderNotFound]
    watching: Watching
    rules: SagaRules
    metrics: Metrics
    default_currency: str


class OrderServicer(order_pb2_grpc.OrderServiceServicer):
    """Raises the errors of `domain.errors`, which `observed_rpcs` answers with."""

    def __init__(self, collaborators: Collaborators) -> None:
        self._with = collaborators

    async def CreateOrder(self, request: order_pb2.CreateOrderRequest, context: Any) -> order_pb2.CreateOrderResponse:
        """Answers once the order has committed."""
        result = await self._with.creation.submit(self._to_create(request, current_traceparent()))
        if isinstance(result, OrderServiceError):
            raise result
        return order_pb2.CreateOrderResponse(order=order_answer(result))

    async def BatchCreateOrders(
        self, request: order_pb2.BatchCreateOrdersRequest, context: Any
    ) -> order_pb2.BatchCreateOrdersResponse:
        """Answers once each order that is right has committed or failed. If none could be stored because PostgreSQL is
        away, the whole call fails with that."""
        traceparent = current_traceparent()
        asked = [self._to_create_or_error(one, traceparent) for one in requests.batch_requests(request)]
        created = await self._with.creation.submit_all([ask for ask in asked if isinstance(ask, OrderToCreate)])
        if created and all(isinstance(one, ServiceUnavailable) for one in created):
            raise ServiceUnavailable("none of the orders could be stored")
        in_order = iter(created)
        results = [next(in_order) if isinstance(ask, OrderToCreate) else ask for ask in asked]
        return order_pb2.BatchCreateOrdersResponse(results=[_result(result) for result in results])

    async def GetOrder(self, request: order_pb2.GetOrderRequest, context: Any) -> order_pb2.GetOrderResponse:
        """Reads share queries as writes share transactions."""
        return order_pb2.GetOrderResponse(order=order_answer(await self._read(requests.wanted(request))))

    async def ListOrders(self, request: order_pb2.ListOrdersRequest, context: Any) -> order_pb2.ListOrdersResponse:
        """One page."""
        asked = requests.orders_page(request)
        async with self._with.database.read() as unit_of_work:
            page = await unit_of_work.orders.page(asked.user_id, asked.statuses, asked.below, asked.size)
        return order_pb2.ListOrdersResponse(
            orders=[order_answer(order) for order in page.orders],
            next_page_token=requests.orders_token(asked, page.next_below),
        )

    async def CancelOrder(self, request: order_pb2.CancelOrderRequest, context: Any) -> order_pb2.CancelOrderResponse:
        """Answers once the cancellation has committed."""
        asked = requests.cancellation(request, current_traceparent())
        done = await self._with.database.run(lambda work: cancel_order(work, asked, self._with.rules))
        count_advances(self._with.metrics, [done])
        order = await self._read(Wanted(done.order.order_id, done.order.user_id))
        return order_pb2.CancelOrderResponse(order=order_answer(order))

    async def WatchOrder(
        self, request: order_pb2.WatchOrderRequest, context: Any
    ) -> AsyncIterator[order_pb2.WatchOrderResponse]:
        """The state now, then each change of status."""
        order = await self._read(requests.wanted(request))
        last = _SETTLED if request.until_settled else FINAL_STATUSES
        yield order_pb2.WatchOrderResponse(order=order_answer(order))
        if order.status in last:
            return
        async for change in self._with.watching.changes(order.order_id, order.created_at, order.version):
            if change.status is order.status:
                continue
            order = await self._as_of(order, change.status, change.version, change.occurred_at)
            yield order_pb2.WatchOrderResponse(order=order_answer(order))
            if order.status in last:
                return

    async def ListOrderEvents(
        self, request: order_pb2.ListOrderEventsRequest, context: Any
    ) -> order_pb2.ListOrderEventsResponse:
        """One page."""
        asked = requests.events_page(request)
        async with self._with.database.read() as unit_of_work:
            events = await list_order_events(unit_of_work, asked.wanted, asked.above, asked.size + 1)
        page = events[: asked.size]
        return order_pb2.ListOrderEventsResponse(
            events=[event_answer(event) for event in page],
            next_page_token=requests.events_token(asked, page[-1].version) if len(events) > asked.size else "",
        )

    async def ExplainOrder(
        self, request: order_pb2.ExplainOrderRequest, context: Any
    ) -> order_pb2.ExplainOrderResponse:
        """All that is known, as of one moment."""
        asked = requests.wanted(request)
        async with self._with.database.snapshot() as unit_of_work:
            return explanation_answer(await explain_order(unit_of_work, asked))

    def _to_create(self, request: order_pb2.CreateOrderRequest, traceparent: str) -> OrderToCreate:
        new = requests.new_order(request, self._with.default_currency)
        new_id = self._with.rules.new_id
        return OrderToCreate(new, new_id(), new_id(), datetime.now(UTC), traceparent)

    def _to_create_or_error(
        self, request: order_pb2.CreateOrderRequest, traceparent: str
    ) -> OrderToCreate | InvalidRequest:
        try:
            return self._to_create(request, traceparent)
        except InvalidRequest as error:
            return error

    async def _read(self, wanted: Wanted) -> Order:
        found = await self._with.reading.submit(wanted)
        if isinstance(found, OrderNotFound):
            raise found
        return found

    async def _as_of(self, order: Order, status: OrderStatus, version: int, at: datetime) -> Order:
        """The order as it was after a change: read again, for its reason, but with the status of that change."""
        now = await self._read(Wanted(order.order_id, order.user_id))
        reason = now.reason if now.status is status else None
        return replace(now, status=status, version=version, updated_at=at, reason=reason)


def _result(created: Order | BaseException) -> Result:
    if isinstance(created, Order):
        return Result(order=order_answer(created))
    return Result(error=status_of(created))


async def read_batch(database: Database, wanted: Sequence[Wanted]) -> list[Order | OrderNotFound]:
    """GetOrder's batch: one query for all that are asked for at once. Raises StorageUnavailable."""
    async with database.read() as unit_of_work:
        return await get_orders(unit_of_work, wanted)
