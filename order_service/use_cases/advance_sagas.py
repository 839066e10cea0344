"""Carries out what the saga's engine decides: the one place where an order changes after it was created."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import assert_never
from uuid import UUID

from order_service.domain import events
from order_service.domain.events import EventType, Fact, OrderEvent
from order_service.domain.order import Item, Order
from order_service.domain.status import OrderStatus
from order_service.saga.engine import Outcome, Saga, Stimulus, decide
from order_service.saga.order_saga import ORDER_SAGA, StepName
from order_service.storage.orders import LockedOrder
from order_service.storage.unit_of_work import UnitOfWork
from order_service.telemetry.metrics import Metrics
from order_service.use_cases.create_orders import Timeouts

_UNDOES: Mapping[EventType, StepName] = {step.undo: step.name for step in ORDER_SAGA}


@dataclass(frozen=True, slots=True)
class SagaRules:
    """What the service was configured to do: how long each step may take; and where ids come from."""

    timeouts: Timeouts
    new_id: Callable[[], UUID]


@dataclass(frozen=True, slots=True)
class Emitted:
    """An event that a decision asks for, before the order's items are at hand."""

    type: EventType
    order: Order
    traceparent: str


@dataclass(frozen=True, slots=True)
class Advance:
    """How far a locked order has come within this transaction."""

    locked: LockedOrder
    order: Order
    saga: Saga
    emitted: tuple[Emitted, ...] = ()

    @property
    def settled(self) -> OrderStatus | None:
        """The status that the order has reached, if it changed."""
        return self.order.status if self.order.status is not self.locked.order.status else None

    @property
    def undone(self) -> list[StepName]:
        """The steps whose undoing was asked for."""
        return [_UNDOES[emitted.type] for emitted in self.emitted if emitted.type in _UNDOES]

    @property
    def seconds(self) -> float:
        """From the order's creation to its last change."""
        return (self.order.updated_at - self.order.created_at).total_seconds()


def begin(locked: LockedOrder) -> Advance:
    """A locked order before anything has happened to it."""
    return Advance(locked, locked.order, locked.saga)


def advance(so_far: Advance, stimulus: Stimulus, traceparent: str, rules: SagaRules) -> tuple[Advance, Outcome]:
    """What a stimulus makes of an order. Its events continue the trace of the stimulus, or else that in which the order
    was created. Pure."""
    decision = decide(so_far.saga, stimulus, so_far.locked.now, rules.timeouts)
    order, emitted = so_far.order, so_far.emitted
    status, reason = (order.status, order.reason) if decision.status is None else (decision.status, decision.reason)
    for event_type in decision.emits:
        updated_at = max(so_far.locked.now, order.updated_at)
        order = replace(order, status=status, reason=reason, version=order.version + 1, updated_at=updated_at)
        emitted = (*emitted, Emitted(event_type, order, traceparent or so_far.locked.created_in_trace))
    return Advance(so_far.locked, order, decision.saga, emitted), decision.outcome


async def record(unit_of_work: UnitOfWork, advances: Iterable[Advance], rules: SagaRules) -> None:
    """Writes orders, sagas, history and outbox. The orders must be locked by this transaction."""
    moved = [advance for advance in advances if advance.saga != advance.locked.saga or advance.emitted]
    items = await _items_for(unit_of_work, moved)
    await unit_of_work.orders.update([(done.locked, done.order) for done in moved if done.emitted])
    await unit_of_work.sagas.update([done.saga for done in moved])
    await unit_of_work.events.append(
        [
            _event(emitted, items.get(emitted.order.order_id, ()), rules.new_id())
            for done in moved
            for emitted in done.emitted
        ]
    )


async def _items_for(unit_of_work: UnitOfWork, moved: Sequence[Advance]) -> Mapping[UUID, tuple[Item, ...]]:
    """The items of the orders whose stock is to be released: the only events of a moving saga that list them."""
    currencies = {
        emitted.order.order_id: emitted.order.total.currency
        for done in moved
        for emitted in done.emitted
        if emitted.type is EventType.STOCK_RELEASE_REQUESTED
    }
    return await unit_of_work.orders.items(currencies) if currencies else {}


def _event(emitted: Emitted, items: tuple[Item, ...], event_id: UUID) -> OrderEvent:
    order = emitted.order
    return OrderEvent(
        event_id=event_id,
        order_id=order.order_id,
        user_id=order.user_id,
        version=order.version,
        status=order.status,
        occurred_at=order.updated_at,
        fact=_fact(emitted.type, order, items),
        traceparent=emitted.traceparent,
    )


def _fact(event_type: EventType, order: Order, items: tuple[Item, ...]) -> Fact:
    match event_type:
        case EventType.ORDER_CREATED:
            return events.OrderCreated(items, order.total)
        case EventType.ORDER_CONFIRMED:
            return events.OrderConfirmed()
        case EventType.ORDER_CANCELLED:
            if order.reason is None:
                raise ValueError("an order is cancelled for a reason")
            return events.OrderCancelled(order.reason)
        case EventType.STOCK_RELEASE_REQUESTED:
            return events.StockReleaseRequested(items)
        case EventType.PAYMENT_REQUESTED:
            return events.PaymentRequested(order.total)
        case EventType.PAYMENT_REFUND_REQUESTED:
            return events.PaymentRefundRequested(order.total)
        case _:
            assert_never(event_type)


def count_advances(metrics: Metrics, advances: Iterable[Advance]) -> None:
    """Counts what became of orders. For the edges, after the commit."""
    seconds: dict[OrderStatus, list[float]] = defaultdict(list)
    for done in advances:
        if (status := done.settled) is not None:
            seconds[status].append(done.seconds)
        for step in done.undone:
            metrics.compensations.labels(step.value).inc()
    for status, all_of_them in seconds.items():
        metrics.orders.labels(status.value).inc(len(all_of_them))
        histogram = metrics.saga_seconds.labels(status.value)
        for one in all_of_them:
            histogram.observe(one)
