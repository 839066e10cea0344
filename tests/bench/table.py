"""The table of a run: each row beside its limit, and below it what an operation costs each process."""

import statistics
from collections.abc import Iterable, Mapping, Sequence

from rich.console import Console
from rich.table import Table

from tests.bench.conduct import Run, rounds_of
from tests.bench.measured import Compared, Figure, Row
from tests.bench.servers import Environment
from tests.bench.words import holds_text, target_text, value_text

_FIRST = ("service", "limit", "load", "postgresql", "rabbitmq")


def show(run: Run, rows: Sequence[Row], rounds: int | None, environment: Environment, console: Console) -> None:
    """Prints it, with what it holds for."""
    compared = run.compared(rows)
    console.print()
    console.print(_ratios(compared, run, rounds))
    console.print(_costs(compared))
    for name, why in run.failures.items():
        console.print(f"{name}: not measured: {why}", markup=False)
    for line in environment.lines():
        console.print(line, markup=False)


def cpu_medians(figures: Iterable[Figure]) -> dict[str, float]:
    """The median of what each process spent, in microseconds for each operation."""
    spent: dict[str, list[float]] = {}
    for figure in figures:
        for name, microseconds in figure.cpu_us.items():
            spent.setdefault(name, []).append(microseconds)
    return {name: statistics.median(values) for name, values in spent.items()}


def _ratios(compared: Sequence[Compared], run: Run, rounds: int | None) -> Table:
    table = Table("row", title="medians of the rounds", title_justify="left")
    for column in ("service", "limit", "ratio", "spread", "rounds"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("target", no_wrap=True)
    table.add_column("holds")
    for one in compared:
        row, (least, greatest) = one.row, one.spread
        rounds_text = (
            str(len(one.rounds)) if row.name in run.ended else f"{len(one.rounds)} of {rounds_of(row, rounds)}"
        )
        values = (value_text(one.service, row.unit), value_text(one.limit, row.unit))
        spread = f"{least:.2f} .. {greatest:.2f}"
        beside = "".join(f" ({name} {one.more(name) * 1000:.1f} ms)" for name in row.most)
        table.add_row(
            row.name, *values, f"{one.ratio:.2f}{beside}", spread, rounds_text, target_text(row), holds_text(one)
        )
    return table


def _costs(compared: Sequence[Compared]) -> Table:
    sides = [
        (one.row.name, side, cpu_medians(figures))
        for one in compared
        for side, figures in (
            ("limit", [limit for limit, _ in one.rounds]),
            ("service", [own for _, own in one.rounds]),
        )
    ]
    names = _in_order(spent for _, _, spent in sides)
    table = Table("row", "measured", title="CPU time for each operation, in microseconds", title_justify="left")
    for name in names:
        table.add_column(name, justify="right")
    for row, side, spent in sides:
        table.add_row(
            row if side == "limit" else "", side, *(f"{spent[name]:,.0f}" if name in spent else "" for name in names)
        )
    return table


def _in_order(spent: Iterable[Mapping[str, float]]) -> list[str]:
    """Every process that occurs: those that most rows have, then the others."""
    found = {name for one in spent for name in one}
    return [name for name in _FIRST if name in found] + sorted(found - set(_FIRST))
