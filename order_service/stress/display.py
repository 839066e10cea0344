"""What a person sees while a load runs, on standard error: a bar on a terminal, elsewhere plain lines."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from order_service.stress.bars import duration
from order_service.stress.measuring import Measured
from order_service.stress.outcomes import Outcomes


class Shown(Protocol):
    """Told now and then how a run stands."""

    def sending(self, measured: Measured) -> None:
        """Orders are being sent."""

    def waiting(self, measured: Measured, outcomes: Outcomes) -> None:
        """All are sent, and outcomes are being asked for."""


@contextmanager
def shown_on(stream: TextIO) -> Iterator[Shown]:
    """Live if the stream is a terminal."""
    if not stream.isatty():
        yield _Lines(stream)
        return
    columns = (TextColumn("{task.description:<8}"), BarColumn(bar_width=20), TimeElapsedColumn())
    console = Console(file=stream, highlight=False)
    with Progress(*columns, TextColumn("{task.fields[told]}"), console=console) as bars:
        yield _Bars(bars)


class _Standing:
    """How far sending has come in all, and how it went since this was last told, which is a second ago."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def text(self, measured: Measured) -> str:
        now, recent = time.monotonic(), measured.take_recent()
        since, self._last = now - self._last, now
        told = (
            f"sent {measured.sent:,} of {measured.plan.num:,}  accepted {measured.accepted:,}  "
            f"failed {measured.failed.total():,}  now {recent.accepted / since if since else 0:,.0f}/s"
        )
        if summary := recent.latencies.summary():
            told += f"  p50 {duration(summary.p50)}  p99 {duration(summary.p99)}"
        return told


class _Lines:
    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._began = time.monotonic()
        self._standing = _Standing()

    def sending(self, measured: Measured) -> None:
        self._say(self._standing.text(measured))

    def waiting(self, measured: Measured, outcomes: Outcomes) -> None:
        self._say(_waiting(measured, outcomes))

    def _say(self, text: str) -> None:
        print(f"{time.monotonic() - self._began:7.1f} s  {text}", file=self._stream, flush=True)


class _Bars:
    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._standing = _Standing()
        self._tasks: dict[str, TaskID] = {}

    def sending(self, measured: Measured) -> None:
        self._show("sending", measured.sent - measured.unanswered, measured.plan.num, self._standing.text(measured))

    def waiting(self, measured: Measured, outcomes: Outcomes) -> None:
        self._show("outcomes", outcomes.asked, _sampled(measured), _waiting(measured, outcomes))

    def _show(self, name: str, done: int, total: int, told: str) -> None:
        if name not in self._tasks:
            self._tasks[name] = self._bars.add_task(name, total=total, told="")
        self._bars.update(self._tasks[name], completed=min(done, total), told=told)


def _waiting(measured: Measured, outcomes: Outcomes) -> str:
    told = f"about {outcomes.settled_share:.0%} have an outcome  counted {outcomes.asked:,} of {_sampled(measured):,}"
    return f"{told}  {outcomes.failure}" if outcomes.failure else told


def _sampled(measured: Measured) -> int:
    return sum(map(len, measured.acknowledged.values()))
