"""Tells a person how a run goes: a bar that moves on a terminal, plain lines elsewhere."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from tests.chaos.conduct import Run

_MOVE_SECONDS: Final = 0.5
_LINE_SECONDS: Final = 15.0


@dataclass(slots=True)
class Display:
    """Where everything is said."""

    console: Console = field(default_factory=lambda: Console(highlight=False, soft_wrap=True))

    def say(self, line: str) -> None:
        """One line."""
        self.console.print(line, markup=False)

    @contextmanager
    def following(self, run: Run, seconds: float) -> Iterator[None]:
        """Shows how far the run is, within the block."""
        if not self.console.is_terminal:
            task = asyncio.create_task(self._tell(run))
            try:
                yield
            finally:
                task.cancel()
            return
        columns = (BarColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
        with Progress(*columns, console=self.console, transient=True) as progress:
            task = asyncio.create_task(self._move(progress, progress.add_task("", total=seconds), run))
            try:
                yield
            finally:
                task.cancel()

    async def _move(self, progress: Progress, bar: TaskID, run: Run) -> None:
        while True:
            progress.update(bar, completed=time.monotonic() - run.began_at, description=_state(run))
            await asyncio.sleep(_MOVE_SECONDS)

    async def _tell(self, run: Run) -> None:
        while True:
            self.say(f"{time.monotonic() - run.began_at:6.1f} s  {_state(run)}")
            await asyncio.sleep(_LINE_SECONDS)


def _state(run: Run) -> str:
    backlog = run.timeline.backlog[-1][1] if run.timeline.backlog else 0
    return (
        f"acknowledged {len(run.traffic.acknowledged):,}  outcomes {len(run.timeline.outcomes):,}"
        f"  in the outbox {backlog:,}  waiting {run.traffic.waiting}  faults {len(run.struck)}"
    )
