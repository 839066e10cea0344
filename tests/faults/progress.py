"""Shows how far a campaign is: a bar on a terminal, a line now and then elsewhere."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

_LINE_SECONDS: Final = 10.0


class Shown:
    """Where things are said. `total` is an estimate, and may be changed while it runs."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = self._last = time.monotonic()
        self._progress: Progress | None = None
        self.total = 0
        self.done = 0

    @contextmanager
    def running(self) -> Iterator["Shown"]:
        """Shows the bar within the block, if this is a terminal."""
        if not self._console.is_terminal:
            yield self
            return
        columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
        shown = [TextColumn(one) if isinstance(one, str) else one for one in columns]
        with Progress(*shown, console=self._console) as self._progress:
            self._task = self._progress.add_task("points", total=None)
            yield self
        self._progress = None

    def say(self, line: str) -> None:
        """A line that stays."""
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def step(self, lost: int, wrong: int) -> None:
        """One more point is done."""
        self.done += 1
        self.total = max(self.total, self.done)
        if self._progress is not None:
            told = f"{lost} lost, {wrong} wrong"
            self._progress.update(self._task, completed=self.done, total=self.total, description=told)
        elif time.monotonic() - self._last >= _LINE_SECONDS:
            self._last = time.monotonic()
            seconds = self._last - self._began
            self.say(f"{seconds:6.0f} s  {self.done:,} of about {self.total:,} points  {lost} lost, {wrong} wrong")
