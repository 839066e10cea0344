"""An event as the bytes of its AMQP 0-9-1 frames: method, header and body.

Every event has the same properties, so what does not change is made once. pamqp, which looks at each property of each
message anew, makes the same bytes in several times the time (a test holds the two together).
"""

import functools
import struct
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from pamqp.commands import Basic
from pamqp.frame import marshal

SOURCE: Final = "/order-service"

_FLAGS: Final = sum(
    Basic.Properties.flags[name]
    for name in ("content_type", "headers", "delivery_mode", "message_id", "timestamp", "message_type", "app_id")
)
_PERSISTENT: Final = b"\x02"
_HEADER, _BODY, _END = 2, 3, b"\xce"
_FRAME: Final = struct.Struct(">BHI")
_CONTENT: Final = struct.Struct(">HHQH")
_SIZE: Final = struct.Struct(">I")
_SECONDS: Final = struct.Struct(">Q")


@dataclass(frozen=True, slots=True)
class Outgoing:
    """An event on its way out."""

    event_id: UUID
    type: str
    order_id: UUID
    occurred_at: datetime
    traceparent: str
    body: bytes


def frames(message: Outgoing, channel: int, exchange: str, routing_key: str, largest: int) -> bytes:
    """What publishes a message, to be returned if no queue takes it. `largest` is that of a frame's body, in bytes."""
    body = message.body
    content = _CONTENT.pack(Basic.frame_id, 0, len(body), _FLAGS) + _properties(message)
    return b"".join(
        (
            _publish(channel, exchange, routing_key),
            _frame(_HEADER, channel, content),
            *[_frame(_BODY, channel, body[start : start + largest]) for start in range(0, len(body), largest)],
        )
    )


def _properties(message: Outgoing) -> bytes:
    """CloudEvents 1.0 in binary mode, as the RabbitMQ binding has it (attributes as headers named `ce-...`)."""
    event_id = str(message.event_id)
    headers = b"".join(
        (
            _of_every_event(),
            _of_type(message.type),
            _entry("ce-id", event_id),
            _entry("ce-subject", str(message.order_id)),
            _entry("ce-time", message.occurred_at.isoformat().replace("+00:00", "Z")),
            _entry("traceparent", message.traceparent) if message.traceparent else b"",
        )
    )
    return b"".join(
        (
            _short("application/json"),
            _SIZE.pack(len(headers)),
            headers,
            _PERSISTENT,
            _short(event_id),
            _SECONDS.pack(int(message.occurred_at.timestamp())),
            _short(message.type),
            _short("order-service"),
        )
    )


@functools.lru_cache
def _publish(channel: int, exchange: str, routing_key: str) -> bytes:
    return marshal(
        Basic.Publish(
            exchange=exchange,
            routing_key=routing_key,
            mandatory=True,
        ),
        channel,
    )


@functools.cache
def _of_every_event() -> bytes:
    return _entry("ce-specversion", "1.0") + _entry("ce-source", SOURCE)


@functools.lru_cache
def _of_type(event_type: str) -> bytes:
    return _entry("ce-type", event_type)


def _frame(kind: int, channel: int, payload: bytes) -> bytes:
    return _FRAME.pack(kind, channel, len(payload)) + payload + _END


def _entry(name: str, value: str) -> bytes:
    """A line of a table whose value is a long string."""
    text = value.encode()
    return _short(name) + b"S" + _SIZE.pack(len(text)) + text


def _short(value: str) -> bytes:
    text = value.encode()
    return bytes((len(text),)) + text
