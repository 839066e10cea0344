"""Parked messages as people and programs see them."""

import base64
import json
from collections.abc import Iterable
from typing import Any, Final

import click

from order_service.cli.output import print_fields, print_table, printable, when
from order_service.storage.parked_messages import ParkedMessage

_SHOWN_CHARACTERS: Final = 2_000
_SHOWN_BYTES: Final = 512
_DUMP_WIDTH: Final = 16


def parked_json(message: ParkedMessage, whole: bool = False) -> dict[str, Any]:
    """A parked message; `whole` with headers and body (`body` if it is text, else `body_base64`). These names are a
    contract with programs: add, never change."""
    known = {
        "parked_id": message.parked_id,
        "direction": message.direction,
        "source": message.source,
        "order_id": message.order_id,
        "version": message.version,
        "reason_code": message.reason_code,
        "reason": message.reason,
        "size": message.size,
        "first_seen_at": message.first_seen_at,
        "attempts": message.attempts,
        "retry_at": message.retry_at,
    }
    if not whole:
        return known
    text = _as_text(message.body)
    body = {"body": text} if text is not None else {"body_base64": base64.b64encode(message.body).decode()}
    return {**known, "headers": message.headers or {}, **body}


def print_parked_list(messages: Iterable[ParkedMessage]) -> None:
    """A line for each."""
    rows = (
        (
            str(message.parked_id),
            message.direction,
            message.source,
            message.reason_code,
            when(message.first_seen_at, "seconds"),
            when(message.retry_at, "seconds") or "an operator",
            str(message.attempts),
            str(message.order_id or ""),
        )
        for message in messages
    )
    print_table(("ID", "WAY", "SOURCE", "REASON", "FIRST SEEN", "WAITS FOR", "ATTEMPTS", "ORDER"), rows)


def print_parked(message: ParkedMessage) -> None:
    """Everything but the body."""
    print_fields(
        [
            ("parked message", str(message.parked_id)),
            ("way", "IN (received)" if message.direction == "IN" else "OUT (an event that nobody takes)"),
            ("source", message.source),
            ("order", str(message.order_id or "")),
            ("version", str(message.version or "")),
            ("reason", f"{message.reason_code}: {message.reason}"),
            ("first seen", when(message.first_seen_at)),
            ("attempts", str(message.attempts)),
            ("waits for", when(message.retry_at) or "an operator"),
            *((f"header {name}", _shown(value)) for name, value in (message.headers or {}).items()),
            ("body", f"{message.size} bytes"),
        ]
    )


def print_body(body: bytes, full: bool) -> None:
    """The body as text if it is text, else as a hex dump; a long one is cut unless `full`."""
    text = _as_text(body)
    if text is not None:
        shown = text if full else text[:_SHOWN_CHARACTERS]
        click.echo(printable(shown))
        left_out = len(text) - len(shown)
    else:
        part = body if full else body[:_SHOWN_BYTES]
        for line in _hex_dump(part):
            click.echo(line)
        left_out = len(body) - len(part)
    if left_out:
        click.echo(f"... and {left_out} more (--full)", err=True)


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _as_text(body: bytes) -> str | None:
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text


def _hex_dump(body: bytes) -> Iterable[str]:
    for start in range(0, len(body), _DUMP_WIDTH):
        row = body[start : start + _DUMP_WIDTH]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        yield f"{start:08x}  {row.hex(' '):<{_DUMP_WIDTH * 3}} {text}"
