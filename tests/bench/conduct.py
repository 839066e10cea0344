"""Measures rows in turn: limit, service, limit, service, ..."""

import asyncio
import re
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from tests.bench.measured import Compared, Figure, NotMeasured, Pair, Row
from tests.integration.platform import Servers


class Watcher(Protocol):
    """Is told how a run goes."""

    def begun(self, row: Row, rounds: int) -> None:
        """A row is about to be made ready."""

    def doing(self, what: str) -> None:
        """What is being done at the moment."""

    def round_ended(self, row: Row, number: int, rounds: int, limit: Figure, service: Figure) -> None:
        """Both sides of a round were measured."""

    def failed(self, row: Row, why: str) -> None:
        """A row came to an early end."""


@dataclass(slots=True)
class Run:
    """All that has been measured so far."""

    rounds: dict[str, list[tuple[Figure, Figure]]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    """Why a row has no result, by its name."""
    ended: set[str] = field(default_factory=set)
    """Rows that have all of their rounds."""
    seconds: float = 0.0

    def compared(self, rows: Sequence[Row]) -> list[Compared]:
        """The rows of which there is at least one round, those that failed later included."""
        return [Compared(row, self.rounds[row.name]) for row in rows if self.rounds.get(row.name)]

    def is_whole(self, rows: Sequence[Row], least_rounds: int) -> bool:
        """Whether each of the rows was measured to its end, in so many rounds or more."""
        return all(row.name in self.ended and len(self.rounds[row.name]) >= least_rounds for row in rows)

    def holds(self, rows: Sequence[Row]) -> bool:
        """Whether each of the rows was measured to its end and meets its target."""
        return self.ended >= {row.name for row in rows} and all(one.holds for one in self.compared(rows))


def rounds_of(row: Row, asked: int | None) -> int:
    """How many rounds a row gets."""
    return asked or row.rounds


async def conduct(
    rows: Sequence[Row], servers: Servers, folder: Path, run: Run, watcher: Watcher, rounds: int | None = None
) -> None:
    """Fills `run`, row by row. What goes wrong with one row does not touch the others. When it is cancelled, `run` has
    the rounds that were complete."""
    began = time.monotonic()
    try:
        for row in rows:
            await _measure(row, servers, _fresh(folder / folder_name(row)), run, watcher, rounds_of(row, rounds))
    finally:
        run.seconds = time.monotonic() - began


async def _measure(row: Row, servers: Servers, folder: Path, run: Run, watcher: Watcher, rounds: int) -> None:
    watcher.begun(row, rounds)
    try:
        async with row.opened(servers, folder, watcher.doing) as pair:
            for number in range(1, rounds + 1):
                limit, service = await _round(pair, watcher)
                run.rounds.setdefault(row.name, []).append((limit, service))
                watcher.round_ended(row, number, rounds, limit, service)
        run.ended.add(row.name)
    except NotMeasured as reason:
        run.failures[row.name] = str(reason)
    except Exception as error:
        run.failures[row.name] = f"{type(error).__name__}: {error} (logs in {folder})"
    if row.name in run.failures:
        watcher.failed(row, run.failures[row.name])


async def _round(pair: Pair, watcher: Watcher) -> tuple[Figure, Figure]:
    watcher.doing("measuring the limit")
    limit = await pair.limit()
    await asyncio.sleep(0)
    watcher.doing("measuring the service")
    return limit, await pair.service()


def folder_name(row: Row) -> str:
    """Its name, as far as it does well in a path."""
    return re.sub(r"\W+", "-", row.name.lower()).strip("-")


def _fresh(folder: Path) -> Path:
    """An empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
