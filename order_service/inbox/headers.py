"""AMQP headers as what they mean to us, and as JSON for keeping."""

import base64
import re
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

_TRACEPARENT: Final = re.compile("[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_DEEPEST: Final = 8
_LONGEST: Final = 4_096


def traceparent_in(headers: Mapping[str, Any]) -> str:
    """The W3C trace context that a message travels with, or empty if it has none that is well formed. Peers send it as
    text or as bytes."""
    value = headers.get("traceparent", "")
    text = value.decode("ascii", errors="replace") if isinstance(value, bytes | bytearray) else str(value)
    return text if _TRACEPARENT.fullmatch(text) else ""


def json_headers(headers: Mapping[str, Any]) -> dict[str, Any]:
    """Headers as JSON can hold them: bytes that are no text as base64, numbers that JSON has not as text, and nothing
    too deep or too long."""
    return {_text(str(name)): _plain(value, _DEEPEST) for name, value in headers.items()}


def _plain(value: Any, depth: int) -> Any:
    match value:
        case None | bool() | int():
            return value
        case str():
            return _text(value)
        case bytes() | bytearray():
            return {"base64": base64.b64encode(bytes(value[:_LONGEST])).decode()}
        case dict() if depth:
            return {_text(str(name)): _plain(inner, depth - 1) for name, inner in value.items()}
        case list() | tuple() if depth:
            return [_plain(inner, depth - 1) for inner in value]
        case float() | Decimal() | datetime():
            return str(value)
        case _:
            return _text(repr(value))


def _text(value: str) -> str:
    """Text that PostgreSQL's JSON can hold."""
    return value.replace("\0", "").encode(errors="replace").decode()[:_LONGEST]
