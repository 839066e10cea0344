"""The events that the bench sends: one order of the bench, again and again under another id."""

from datetime import UTC, datetime
from functools import cache
from typing import Final
from uuid import UUID, uuid4

import aio_pika

from order_service.api.requests import new_order
from order_service.domain.events import OrderCreated, OrderEvent
from order_service.domain.status import OrderStatus
from order_service.messages.outgoing import encode
from tests.bench.orders import create_request

EVENTS_EXCHANGE: Final = "order.events"
PLACEHOLDER: Final = UUID(int=0)
"""Stands for the order's id in `template`."""

_OCCURRED: Final = datetime(2026, 1, 1, 12, 30, 15, 123456, tzinfo=UTC)


@cache
def template() -> str:
    """The body of OrderCreated as the service writes it."""
    new = new_order(create_request(0), "USD")
    fact = OrderCreated(new.items, new.total)
    return encode(OrderEvent(PLACEHOLDER, PLACEHOLDER, new.user_id, 1, OrderStatus.PENDING, _OCCURRED, fact))


def created_body(order_id: UUID) -> bytes:
    """The same for one order."""
    return template().replace(str(PLACEHOLDER), str(order_id)).encode()


def event_message(order_id: UUID, body: bytes) -> aio_pika.Message:
    """OrderCreated as the service sends it: persistent, CloudEvents 1.0 in binary mode."""
    event_id = str(uuid4())
    return aio_pika.Message(
        body,
        content_type="application/json",
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        message_id=event_id,
        timestamp=_OCCURRED,
        type="order.created",
        app_id="order-service",
        headers={
            "ce-specversion": "1.0",
            "ce-id": event_id,
            "ce-source": "/order-service",
            "ce-type": "order.created",
            "ce-subject": str(order_id),
            "ce-time": "2026-01-01T12:30:15.123456Z",
        },
    )
