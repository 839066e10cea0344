"""Tells a person how far a run is and how long it will take: a bar on a terminal, plain lines elsewhere."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from tests.bench.growth.measured import Measured
from tests.bench.growth.plan import Step

_LINE_SECONDS: Final = 10.0
_TRUSTED_SHARE: Final = 0.1
"""From here on the time that is left is told by the time that has gone by."""


class Display:
    """Follows a run, step by step."""

    def __init__(self, console: Console, steps: Sequence[Step], scale: float) -> None:
        self._console = console
        self._steps = list(steps)
        self._left = {step.name: step.takes(scale) for step in steps}
        self._scale = scale
        self._step = steps[0]
        self._doing = ""
        self._began = self._line_at = time.monotonic()
        self._bar: Progress | None = None

    @contextmanager
    def following(self) -> Iterator[None]:
        """Within the block a terminal has a bar."""
        if not self._console.is_terminal:
            yield
            return
        columns = (BarColumn(bar_width=24), TextColumn("{task.description}", markup=False))
        with Progress(*columns, console=self._console, transient=True) as bar:
            bar.add_task("", total=1.0)
            self._bar = bar
            yield
            self._bar = None

    def begun(self, step: Step) -> None:
        """A step begins."""
        self._step, self._doing = step, "beginning"
        self._began = time.monotonic()
        self._console.print(f"{step.name}: {step.says}", markup=False)
        self.tell(0.0, "")

    def tell(self, share: float, doing: str) -> None:
        """How far it is, from 0 to 1."""
        now = time.monotonic()
        self._doing = doing or self._doing
        if share >= _TRUSTED_SHARE:
            self._left[self._step.name] = (now - self._began) / share * (1 - share)
        line = f"{self._step.name} {share:4.0%}  {self._doing}  about {self.minutes_left()} left"
        if self._bar:
            self._bar.update(self._bar.task_ids[0], completed=share, description=line)
        elif now >= self._line_at:
            self._line_at = now + _LINE_SECONDS
            self._console.print(f"  {line}", markup=False)

    def ended(self, step: Step, measured: Measured) -> None:
        """A step has ended well."""
        self._left[step.name] = 0.0
        told = [f"{bound.what} {bound.measured:,g}" for bound in measured.result.bounds]
        if not told:
            told = [f"{name} {figure:,g}" for name, figure in measured.result.figures.items()]
        self._console.print(
            f"  {'ok' if measured.result.ok else 'MISSED'} after {time.monotonic() - self._began:.0f} s:"
            f" {'; '.join(told)}",
            markup=False,
        )

    def failed(self, step: Step, why: str) -> None:
        """A step came to an early end."""
        self._left[step.name] = 0.0
        self._console.print(f"  NOT MEASURED: {why}", markup=False)

    def minutes_left(self) -> str:
        """Of the whole run, as minutes and seconds."""
        left = round(sum(self._left.values()))
        return f"{left // 60}:{left % 60:02}"
