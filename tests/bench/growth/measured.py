"""What a measure gives: figures against bounds, and the curves of its picture."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.endurance.measured import Result

Curve = Sequence[tuple[float, float]]
"""Points of a line, from left to right."""


@dataclass(frozen=True, slots=True)
class Panel:
    """One of the picture's: curves by their names, over a common axis, and the height of the bound, if it has one."""

    x: str
    y: str
    curves: Mapping[str, Curve] = field(default_factory=dict)
    bound: float | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """All that came of one measure."""

    result: Result
    panel: Panel

    def as_json(self) -> dict[str, Any]:
        """Its entry in build/bench-growth.json."""
        return {
            "name": self.result.name,
            "ok": self.result.ok,
            "bounds": self.result.as_json(),
            "figures": dict(self.result.figures),
            "curves": {name: [list(point) for point in curve] for name, curve in self.panel.curves.items()},
        }
