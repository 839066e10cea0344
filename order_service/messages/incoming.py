"""What is received: the replies of the stock service and of the payment service."""

import re
from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

import msgspec

from order_service.saga.engine import ReplyReceived
from order_service.saga.order_saga import ORDER_SAGA, StepName

MAX_BODY: Final = 65_536
"""In bytes. A reply is a few hundred; whatever is larger is parked unread."""

MAX_REASON: Final = 500
"""In characters. A peer's reason is kept up to this length."""


STEP_OF: Final = {step.answered_by: step.name for step in ORDER_SAGA}
"""Which step of the saga each kind of reply answers."""


class UnreadableMessage(ValueError):
    """The bytes are no message that this service understands; the text says why."""


class StepResult(msgspec.Struct, frozen=True):
    """StockUpdateResult and PaymentResult. A peer that writes Go's zero values as nothing leaves `success` and
    `reason` out: that is a failure without a reason."""

    order_id: UUID
    success: bool = False
    reason: str | None = None


_decoder = msgspec.json.Decoder(StepResult)
_TRACEPARENT: Final = re.compile("[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


def decode_reply(step: StepName, body: bytes) -> tuple[UUID, ReplyReceived]:
    """The order that is answered, and the answer. Raises UnreadableMessage."""
    if len(body) > MAX_BODY:
        raise UnreadableMessage(f"body of {len(body)} bytes is above the limit of {MAX_BODY}")
    try:
        result = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UnreadableMessage(str(error)) from error
    return result.order_id, ReplyReceived(step, result.success, _printable(result.reason or ""))


def traceparent_in(headers: Mapping[str, Any]) -> str:
    """The W3C trace context that a message travels with, or empty if it has none that is well formed. Peers send it as
    text or as bytes."""
    value = headers.get("traceparent", "")
    text = value.decode("ascii", errors="replace") if isinstance(value, bytes | bytearray) else str(value)
    return text if _TRACEPARENT.fullmatch(text) else ""


def _printable(text: str) -> str:
    """Without the one character that PostgreSQL cannot keep (NUL), and lone surrogates."""
    return text.replace("\0", "").encode(errors="replace").decode()[:MAX_REASON]
