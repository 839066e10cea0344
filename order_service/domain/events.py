"""What can happen to an order, in the past tense: the units of its history and of publication."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

from order_service.domain.money import Money
from order_service.domain.order import Item, Reason
from order_service.domain.status import OrderStatus


class EventType(StrEnum):
    """The names under which events are published: the routing keys on `order.events`."""

    ORDER_CREATED = "order.created"
    ORDER_CONFIRMED = "order.confirmed"
    ORDER_CANCELLED = "order.cancelled"
    STOCK_RELEASE_REQUESTED = "order.stock_release_requested"
    PAYMENT_REQUESTED = "order.payment_requested"
    PAYMENT_REFUND_REQUESTED = "order.payment_refund_requested"


REQUESTS: Final = frozenset(
    {
        EventType.ORDER_CREATED,
        EventType.STOCK_RELEASE_REQUESTED,
        EventType.PAYMENT_REQUESTED,
        EventType.PAYMENT_REFUND_REQUESTED,
    }
)
"""Events that ask someone to act, so that someone must receive them. All others are facts: nobody needs to listen."""


@dataclass(frozen=True, slots=True)
class OrderCreated:
    """The order was accepted: please take these items from stock."""

    items: tuple[Item, ...]
    total: Money


@dataclass(frozen=True, slots=True)
class OrderConfirmed:
    """Every step of the saga succeeded."""


@dataclass(frozen=True, slots=True)
class OrderCancelled:
    """The order will not be fulfilled."""

    reason: Reason


@dataclass(frozen=True, slots=True)
class StockReleaseRequested:
    """Stock is held for an order that will not be fulfilled: please put these items back."""

    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class PaymentRequested:
    """The stock is held: please collect the amount."""

    amount: Money


@dataclass(frozen=True, slots=True)
class PaymentRefundRequested:
    """A payment was collected for an order that will not be fulfilled: please give it back."""

    amount: Money


type_of: Final = {
    OrderCreated: EventType.ORDER_CREATED,
    OrderConfirmed: EventType.ORDER_CONFIRMED,
    OrderCancelled: EventType.ORDER_CANCELLED,
    StockReleaseRequested: EventType.STOCK_RELEASE_REQUESTED,
    PaymentRequested: EventType.PAYMENT_REQUESTED,
    PaymentRefundRequested: EventType.PAYMENT_REFUND_REQUESTED,
}

Fact = (
    OrderCreated | OrderConfirmed | OrderCancelled | StockReleaseRequested | PaymentRequested | PaymentRefundRequested
)


@dataclass(frozen=True, slots=True)
class OrderEvent:
    """One event of one order. `version` numbers the order's events 1, 2, 3 ... without gaps; `status` is the order's
    status after it; `traceparent` (W3C Trace Context, or empty) is the trace in which it came about."""

    event_id: UUID
    order_id: UUID
    user_id: str
    version: int
    status: OrderStatus
    occurred_at: datetime
    fact: Fact
    traceparent: str = ""

    @property
    def type(self) -> EventType:
        """The name under which it is published."""
        return type_of[self.fact.__class__]
