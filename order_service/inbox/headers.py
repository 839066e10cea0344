"""AMQP headers as JSON, for keeping."""

import base64
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

_DEEPEST: Final = 8
_LONGEST: Final = 4_096


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
