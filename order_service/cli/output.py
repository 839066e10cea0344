"""What commands print: tables and fields for people, JSON for programs. Both go to standard output."""

import json
import shutil
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

if TYPE_CHECKING:
    from rich.table import Table

_UNFOLDED: Final = 1_000
"""Columns to lay a table out in when nobody looks at it: then a row is a line, for `grep` and its like."""

_encoder = msgspec.json.Encoder(decimal_format="number", uuid_format="canonical")


def print_json(value: Any) -> None:
    """One JSON document on one line. Amounts are exact numbers, times are in UTC (ISO 8601)."""
    click.echo(_encoder.encode(value).decode())


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table. The first column is never folded."""
    from rich.text import Text

    table = _empty_table(show_header=True)
    for place, column in enumerate(columns):
        table.add_column(column, no_wrap=place == 0, overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    _print(table)


def print_fields(pairs: Iterable[tuple[str, str]]) -> None:
    """Names and values, those without a value left out."""
    from rich.text import Text

    table = _empty_table(show_header=False)
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    for name, value in pairs:
        if value:
            table.add_row(name, Text(printable(value)))
    _print(table)


def note(text: str) -> None:
    """A remark to the person, on standard error: never part of what a program reads."""
    click.echo(text, err=True)


def when(time: datetime | None) -> str:
    """A time in UTC, to the millisecond (ISO 8601); empty for None."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z") if time else ""


def printable(text: str) -> str:
    """The text with its control characters written out: what a peer sent must not steer the terminal."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() or character == "\n" else json.dumps(character)[1:-1] for character in text
    )


def _empty_table(show_header: bool) -> "Table":
    from rich import box
    from rich.table import Table

    return Table(
        box=box.SIMPLE_HEAD if _on_terminal() else None, show_header=show_header, show_edge=False, pad_edge=False
    )


def _print(table: "Table") -> None:
    from rich.console import Console

    width = shutil.get_terminal_size().columns if _on_terminal() else _UNFOLDED
    console = Console(width=width)
    with console.capture() as captured:
        console.print(table)
    for line in captured.get().splitlines():
        click.echo(line.rstrip())


def _on_terminal() -> bool:
    return sys.stdout.isatty()
