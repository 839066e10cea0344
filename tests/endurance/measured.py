"""What a run has measured, and what it had to be."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Tell = Callable[[float, str], None]
"""Told by a run how far it is (0 to 1), and what it is doing."""


@dataclass(frozen=True, slots=True)
class Bound:
    """One thing that must hold."""

    what: str
    measured: float
    least: float = -math.inf
    most: float = math.inf

    @property
    def ok(self) -> bool:
        """Whether it holds; what could not be measured does not."""
        return self.least <= self.measured <= self.most

    @property
    def limit(self) -> str:
        """The bound in words."""
        if self.least == self.most:
            return f"= {self.most:g}"
        return f">= {self.least:g}" if math.isinf(self.most) else f"<= {self.most:g}"


@dataclass(frozen=True, slots=True)
class Result:
    """All that came of one run."""

    name: str
    figures: Mapping[str, float]
    bounds: Sequence[Bound]

    @property
    def ok(self) -> bool:
        """Whether every bound holds."""
        return all(bound.ok for bound in self.bounds)

    def as_json(self) -> list[dict[str, Any]]:
        """One entry for each bound, all with the figures of the run."""
        return [
            {
                "name": f"{self.name}: {bound.what}",
                "figures": {"measured": bound.measured} | dict(self.figures),
                "bound": bound.limit,
                "ok": bound.ok,
            }
            for bound in self.bounds
        ]


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` of the values do not exceed; not a number if there are none."""
    if not values:
        return math.nan
    return sorted(values)[min(len(values) - 1, math.ceil(share * len(values)) - 1)]
