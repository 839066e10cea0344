"""What commands print: tables and fields for people, JSON for programs. Both go to standard output."""

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

if TYPE_CHECKING:
    from rich.table import Table

_UNFOLDED: Final = 10_000
"""Columns that a table is laid out in: a row is a line, for people as for `grep` and its like."""

_encoder = msgspec.json.Encoder(decimal_format="number", uuid_format="canonical")


def print_json(value: Any) -> None:
    """One JSON document on one line. Amounts are exact numbers, times are in UTC (ISO 8601)."""
    click.echo(_encoder.encode(value).decode())


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table, each row on one line however narrow the terminal: put what matters most first."""
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    _print(table)


def print_fields(pairs: Iterable[tuple[str, str]]) -> None:
    """Names and values, those without a value left out."""
    from rich.table import Table
    from rich.text import Text

    table = Table("", "", box=None, pad_edge=False, show_header=False)
    for name, value in pairs:
        if value:
            table.add_row(Text(name, style="bold"), Text(printable(value)))
    _print(table)


def note(text: str) -> None:
    """A remark to the person, on standard error: never part of what a program reads."""
    click.echo(text, err=True)


def when(time: datetime | None, timespec: str = "milliseconds") -> str:
    """A time in UTC (ISO 8601); empty for None."""
    return time.astimezone(UTC).isoformat(timespec=timespec).replace("+00:00", "Z") if time else ""


def printable(text: str) -> str:
    """The text with its control characters written out: what a peer sent must not steer the terminal."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() or character == "\n" else json.dumps(character)[1:-1] for character in text
    )


def _print(table: "Table") -> None:
    from rich.console import Console

    console = Console(width=_UNFOLDED)
    with console.capture() as captured:
        console.print(table)
    for line in captured.get().splitlines():
        click.echo(line.rstrip())
