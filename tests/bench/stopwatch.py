"""The CPU time that processes spend between two instants."""

import argparse
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.bench.measured import Figure
from tests.bench.processes import cpu_seconds


@dataclass(slots=True)
class Stopwatch:
    """Runs from when it is made. `watched` are process ids by name; those that are 0 are left out."""

    watched: Mapping[str, int]
    began: float = field(init=False)
    _before: dict[str, float] = field(init=False)

    def __post_init__(self) -> None:
        self._before = self._spent()
        self.began = time.monotonic()

    def read(self) -> dict[str, Any]:
        """`seconds` since then, and `cpu_seconds` of each process."""
        seconds, after = time.monotonic() - self.began, self._spent()
        return {"seconds": seconds, "cpu_seconds": {name: after[name] - self._before[name] for name in after}}

    def _spent(self) -> dict[str, float]:
        return {name: cpu_seconds(pid) for name, pid in self.watched.items() if pid}


def figure(value: float, count: int, cpu: Mapping[str, float], /, **more: float) -> Figure:
    """`cpu` is in seconds, for `count` operations."""
    return Figure(value, {name: seconds / count * 1e6 for name, seconds in cpu.items()}, more)


def add_watch(parser: argparse.ArgumentParser) -> None:
    """The option that `processes.watch_arguments` writes."""
    parser.add_argument(
        "--watch", action="append", type=_watched, default=[], metavar="NAME=PID", help="take its CPU time as well"
    )


def _watched(text: str) -> tuple[str, int]:
    name, _, pid = text.partition("=")
    return name, int(pid)
