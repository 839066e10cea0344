"""What was measured, round by round, and what it is compared with."""

import statistics
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    # The load generator has no use for it, and would start later.
    from tests.integration.platform import Servers

Tell = Callable[[str], None]
"""Told what is being done at the moment."""

SECONDS: Final = ContextVar("SECONDS", default=5.0)
"""For how long one side of a round is measured; `SECONDS.get()`. What it takes to warm up comes on top."""


class NotMeasured(Exception):
    """A row cannot be measured here; the text says what is missing and how to get it. Raised by `opened` or a side."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One side of one round.

    `value` is operations per second, or seconds where a row compares latencies. `cpu_us` is the CPU time that each
    process spent, in microseconds for each operation: "service", "limit", "load", "postgresql", "rabbitmq". `more` has
    figures worth keeping, such as percentiles.
    """

    value: float
    cpu_us: Mapping[str, float] = field(default_factory=dict)
    more: Mapping[str, float] = field(default_factory=dict)


Measure = Callable[[], Awaitable[Figure]]


@dataclass(frozen=True, slots=True)
class Pair:
    """Both sides of a row, ready to be measured any number of times."""

    limit: Measure
    service: Measure


@dataclass(frozen=True, slots=True)
class Row:
    """One comparison. `opened` starts what it needs (to be stopped at the end of the block) on the servers given, in a
    folder for logs, and says what it does.

    `ratio` is service / limit. A row holds if the ratio is at least `at_least`, or, where less is better, at most
    `at_most`; and if no round's `more` of the service exceeds `most` in its median.
    """

    name: str
    unit: str
    service: str
    """What is measured, in a line."""
    limit: str
    """What it is compared with, in a line."""
    opened: "Callable[[Servers, Path, Tell], AbstractAsyncContextManager[Pair]]"
    at_least: float | None = None
    at_most: float | None = None
    most: Mapping[str, float] = field(default_factory=dict)
    rounds: int = 5


@dataclass(frozen=True, slots=True)
class Compared:
    """A row with its rounds: pairs of (limit, service) measured one after the other."""

    row: Row
    rounds: Sequence[tuple[Figure, Figure]]

    @property
    def ratios(self) -> list[float]:
        """Service / limit, for each round: what the machine did in between counts for both."""
        return [service.value / limit.value for limit, service in self.rounds]

    @property
    def ratio(self) -> float:
        """The median of the rounds' ratios."""
        return statistics.median(self.ratios)

    @property
    def spread(self) -> tuple[float, float]:
        """The least and the greatest ratio of a round."""
        return min(self.ratios), max(self.ratios)

    @property
    def limit(self) -> float:
        """The limit's median."""
        return statistics.median(limit.value for limit, _ in self.rounds)

    @property
    def service(self) -> float:
        """The service's median."""
        return statistics.median(service.value for _, service in self.rounds)

    def more(self, name: str) -> float:
        """The median of a figure of the service that is kept beside."""
        return statistics.median(service.more[name] for _, service in self.rounds)

    @property
    def holds(self) -> bool:
        """Whether the target is met."""
        row = self.row
        return (
            (row.at_least is None or self.ratio >= row.at_least)
            and (row.at_most is None or self.ratio <= row.at_most)
            and all(self.more(name) <= most for name, most in row.most.items())
        )

    def as_json(self) -> dict[str, Any]:
        """The row of `build/bench.json`."""
        row = self.row
        return {
            "name": row.name,
            "unit": row.unit,
            "service": self.service,
            "limit": self.limit,
            "ratio": self.ratio,
            "spread": list(self.spread),
            "rounds": len(self.rounds),
            "target": {"at_least": row.at_least, "at_most": row.at_most, **row.most},
            "holds": self.holds,
            "measured": [
                {
                    side: {"value": figure.value, "cpu_us": dict(figure.cpu_us), **figure.more}
                    for side, figure in (("limit", limit), ("service", service))
                }
                for limit, service in self.rounds
            ],
        }
