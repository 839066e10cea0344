"""Tells a person how a run goes: a bar on a terminal, plain lines elsewhere."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task
from rich.progress_bar import ProgressBar
from rich.text import Text

from tests.bench.conduct import rounds_of
from tests.bench.measured import SECONDS, Figure, Row
from tests.bench.words import ratio_text

_SETUP_SECONDS: Final = 6.0
"""What it takes to make a row ready and to clear up after it, at a guess."""
_BESIDE_SECONDS: Final = 2.5
"""What one side of a round takes beside what is measured, at a guess until a round has told."""
_MOVES_PER_SECOND: Final = 2
"""Few: this, too, takes CPU time from what is measured."""


class Display:
    """Follows a run; see `conduct.Watcher`."""

    def __init__(self, console: Console, rows: Sequence[Row], rounds: int | None) -> None:
        self._console = console
        self._total = sum(rounds_of(row, rounds) for row in rows)
        self._rows_left = len(rows)
        self._rounds_left_of_row = 0
        self._done = 0
        self._measured_seconds = 0.0
        self._began_at = time.monotonic()
        self._where = ""
        self._what = ""

    @contextmanager
    def following(self) -> Iterator[None]:
        """Within the block a terminal has a bar."""
        if not self._console.is_terminal:
            yield
            return
        columns = (_Bar(self, bar_width=24), _Now(self))
        with Progress(*columns, console=self._console, transient=True, refresh_per_second=_MOVES_PER_SECOND) as bar:
            bar.add_task("", total=self._total)
            yield

    def begun(self, row: Row, rounds: int) -> None:
        """A row is about to be made ready."""
        self._say(f"{row.name}: {row.service}\n  beside {row.limit}")
        self._rows_left -= 1
        self._rounds_left_of_row = rounds
        self._began_at = time.monotonic()
        self._where, self._what = f"{row.name}, round 1 of {rounds}", "making ready"

    def doing(self, what: str) -> None:
        """What is being done at the moment."""
        self._what = what

    def round_ended(self, row: Row, number: int, rounds: int, limit: Figure, service: Figure) -> None:
        """Both sides of a round were measured."""
        now = time.monotonic()
        self._measured_seconds += now - self._began_at
        self._began_at = now
        self._done += 1
        self._rounds_left_of_row -= 1
        self._where = f"{row.name}, round {min(number + 1, rounds)} of {rounds}"
        self._say(f"  round {number} of {rounds}  {ratio_text(row, limit, service)}  about {self.left()} left")

    def failed(self, row: Row, why: str) -> None:
        """A row came to an early end."""
        self._total -= self._rounds_left_of_row
        self._say(f"  NOT MEASURED: {why}")

    @property
    def share(self) -> tuple[int, int]:
        """How many rounds are done, and of how many."""
        return self._done, self._total

    def now(self) -> str:
        """Where the run is."""
        return f"{self._where}: {self._what}, about {self.left()} left"

    def left(self) -> str:
        """The time left as minutes and seconds, reckoned by the rounds so far."""
        guess = 2 * (SECONDS.get() + _BESIDE_SECONDS)
        each = self._measured_seconds / self._done if self._done else guess
        measuring = (self._total - self._done) * each - min(time.monotonic() - self._began_at, each)
        seconds = max(0, round(measuring + self._rows_left * _SETUP_SECONDS))
        return f"{seconds // 60}:{seconds % 60:02}"

    def _say(self, line: str) -> None:
        self._console.print(line, markup=False)


class _Bar(BarColumn):
    """How many of the rounds are done."""

    def __init__(self, display: Display, bar_width: int) -> None:
        super().__init__(bar_width=bar_width)
        self._display = display

    def render(self, task: Task) -> ProgressBar:
        task.completed, task.total = self._display.share
        return super().render(task)


class _Now(ProgressColumn):
    """What is measured now, and how long the rest takes."""

    def __init__(self, display: Display) -> None:
        super().__init__()
        self._display = display

    def render(self, task: Task) -> Text:
        return Text(self._display.now())
