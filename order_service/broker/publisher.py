"""Publishes events and tells what the broker made of each."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from aiormq.abc import DeliveredMessage
from aiormq.channel import Channel
from aiormq.exceptions import DeliveryError
from pamqp.commands import Basic

from order_service.broker.connection import reraise_if_cancelled, told
from order_service.broker.topology import EVENTS_EXCHANGE

PUBLISH_SECONDS: Final = 10.0
SOURCE: Final = "/order-service"
_PERSISTENT: Final = 2


@dataclass(frozen=True, slots=True)
class Outgoing:
    """An event on its way out."""

    event_id: UUID
    type: str
    order_id: UUID
    occurred_at: datetime
    traceparent: str
    body: bytes


class Verdict(StrEnum):
    """What the broker made of a message."""

    CONFIRMED = "confirmed"
    RETURNED = "returned"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    """The connection broke or the time was up. It may have been delivered; the channel must not be used again."""


@dataclass(frozen=True, slots=True)
class Published:
    """The verdict on one message, and what the broker said."""

    verdict: Verdict
    told: str = ""


async def publish(
    channel: Channel, window: Sequence[Outgoing], exchange: str = EVENTS_EXCHANGE, routing_key: str = ""
) -> list[Published]:
    """Publishes a window of messages at once and awaits their confirms together; one result for each, in order. No two
    messages of a window may have the same id. With `routing_key` empty each goes under its type."""
    results = await asyncio.gather(
        *(_publish(channel, message, exchange, routing_key or message.type) for message in window),
        return_exceptions=True,
    )
    reraise_if_cancelled()
    return [_judge(result) for result in results]


async def _publish(channel: Channel, message: Outgoing, exchange: str, routing_key: str) -> Any:
    return await channel.basic_publish(
        message.body,
        exchange=exchange,
        routing_key=routing_key,
        properties=_properties(message),
        mandatory=True,
        timeout=PUBLISH_SECONDS,
        wait=False,
    )


def _judge(result: Any) -> Published:
    match result:
        case Basic.Ack():
            return Published(Verdict.CONFIRMED)
        case DeliveredMessage():
            return Published(Verdict.RETURNED, "returned: no queue is bound")
        case DeliveryError():
            return Published(Verdict.REFUSED, "refused by the broker (nack)")
        case BaseException():
            return Published(Verdict.UNKNOWN, told(result))
        case _:
            return Published(Verdict.UNKNOWN, f"unexpected answer {type(result).__name__}")


def _properties(message: Outgoing) -> Basic.Properties:
    """CloudEvents 1.0 in binary mode, as the RabbitMQ binding has it (attributes as headers named `ce-...`)."""
    event_id = str(message.event_id)
    headers: dict[str, Any] = {
        "ce-specversion": "1.0",
        "ce-id": event_id,
        "ce-source": SOURCE,
        "ce-type": message.type,
        "ce-subject": str(message.order_id),
        "ce-time": message.occurred_at.isoformat().replace("+00:00", "Z"),
    }
    if message.traceparent:
        headers["traceparent"] = message.traceparent
    return Basic.Properties(
        content_type="application/json",
        delivery_mode=_PERSISTENT,
        message_id=event_id,
        message_type=message.type,
        timestamp=message.occurred_at,
        app_id="order-service",
        headers=headers,
    )
