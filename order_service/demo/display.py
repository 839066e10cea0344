"""What a person sees while a demo runs: bars on a terminal, elsewhere plain lines, one a second."""

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from order_service.demo.report import Report

_LINE_SECONDS = 1.0
_OUTCOMES = ("CONFIRMED", "CANCELLED", "PENDING")


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a run has come."""

    acknowledged: int
    statuses: Mapping[str, int]
    events: int

    @property
    def settled(self) -> int:
        """Orders that have an outcome."""
        return sum(self.statuses.values()) - self.statuses.get("PENDING", 0)


class Display:
    """Writes to one stream."""

    def __init__(self, stream: TextIO) -> None:
        self._live = stream.isatty()
        self.console = Console(file=stream, width=None if self._live else 120, highlight=False, soft_wrap=True)

    def say(self, line: str) -> None:
        """A line that stays."""
        self.console.print(line, markup=False)

    def show(self, report: Report) -> None:
        """A report, and the judgement."""
        with self.console.capture() as captured:
            self.console.print(report.table())
        self.say("\n".join(["", *(line.rstrip() for line in captured.get().splitlines()), ""]))
        for problem in report.problems:
            self.say(f"WRONG: {problem}")
        if not report.problems:
            self.say("Nothing was lost, and every order ended as it had to.")

    @contextmanager
    def running(self, orders: int) -> Iterator[Callable[[Standing], None]]:
        """Shows how so many orders fare: call what it gives with each new standing."""
        if not self._live:
            yield _Lines(self.say, orders).show
            return
        columns = (TextColumn("{task.description:<12}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, TextColumn("{task.fields[told]}"), console=self.console) as bars:
            yield _Bars(bars, orders).show


class _Bars:
    def __init__(self, bars: Progress, orders: int) -> None:
        self._bars = bars
        self._placed = bars.add_task("placed", total=orders, told="")
        self._settled = bars.add_task("settled", total=orders, told="")

    def show(self, standing: Standing) -> None:
        told = ", ".join(f"{standing.statuses[name]} {name.lower()}" for name in _OUTCOMES if name in standing.statuses)
        self._bars.update(self._placed, completed=standing.acknowledged, told=f"{standing.events} events heard")
        self._bars.update(self._settled, completed=standing.settled, told=told)


class _Lines:
    def __init__(self, say: Callable[[str], None], orders: int) -> None:
        self._say = say
        self._orders = orders
        self._started = time.monotonic()
        self._next = 0.0

    def show(self, standing: Standing) -> None:
        elapsed = time.monotonic() - self._started
        if elapsed < self._next:
            return
        self._next = elapsed + _LINE_SECONDS
        counts = "  ".join(f"{name.lower()} {standing.statuses.get(name, 0):>4}" for name in _OUTCOMES)
        self._say(
            f"{elapsed:5.1f} s  placed {standing.acknowledged:>4} of {self._orders}  {counts}  events {standing.events}"
        )


def display_on(json_on_stdout: bool) -> Display:
    """On standard output, unless that is kept for a JSON document."""
    return Display(sys.stderr if json_on_stdout else sys.stdout)
