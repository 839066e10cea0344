"""The body of each event that is published (JSON), as `docs/asyncapi.yaml` describes it."""

from datetime import datetime
from decimal import Decimal
from typing import Any, assert_never
from uuid import UUID

import msgspec

from order_service.domain import events
from order_service.domain.events import OrderEvent
from order_service.domain.order import Item
from order_service.domain.status import OrderStatus, ReasonCode


class ItemBody(msgspec.Struct, frozen=True):
    """A line of an order."""

    product_id: str
    quantity: int
    price: Decimal


class EventBody(msgspec.Struct, frozen=True, kw_only=True):
    """What the body of every event has."""

    order_id: UUID
    user_id: str
    status: OrderStatus
    version: int
    occurred_at: datetime


class OrderCreatedBody(EventBody, frozen=True, kw_only=True):
    """order.created"""

    total_price: Decimal
    currency: str
    items: list[ItemBody]


class OrderConfirmedBody(EventBody, frozen=True, kw_only=True):
    """order.confirmed"""


class OrderCancelledBody(EventBody, frozen=True, kw_only=True):
    """order.cancelled"""

    reason_code: ReasonCode
    reason: str


class StockReleaseRequestedBody(EventBody, frozen=True, kw_only=True):
    """order.stock_release_requested"""

    items: list[ItemBody]


class PaymentBody(EventBody, frozen=True, kw_only=True):
    """order.payment_requested and order.payment_refund_requested"""

    amount: Decimal
    currency: str


_encoder = msgspec.json.Encoder(decimal_format="number", uuid_format="canonical")


def encode(event: OrderEvent) -> str:
    """The event's body as JSON text."""
    return _encoder.encode(_body(event)).decode()


def _body(event: OrderEvent) -> EventBody:
    common: dict[str, Any] = {
        "order_id": event.order_id,
        "user_id": event.user_id,
        "status": event.status,
        "version": event.version,
        "occurred_at": event.occurred_at,
    }
    match event.fact:
        case events.OrderCreated(items, total):
            return OrderCreatedBody(**common, total_price=total.decimal(), currency=total.currency, items=_items(items))
        case events.OrderConfirmed():
            return OrderConfirmedBody(**common)
        case events.OrderCancelled(reason):
            return OrderCancelledBody(**common, reason_code=reason.code, reason=reason.text)
        case events.StockReleaseRequested(items):
            return StockReleaseRequestedBody(**common, items=_items(items))
        case events.PaymentRequested(amount) | events.PaymentRefundRequested(amount):
            return PaymentBody(**common, amount=amount.decimal(), currency=amount.currency)
        case _:
            assert_never(event.fact)


def _items(items: tuple[Item, ...]) -> list[ItemBody]:
    return [ItemBody(item.product_id, item.quantity, item.unit_price.decimal()) for item in items]
