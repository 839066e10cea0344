"""A run over time, in so few intervals that it can be kept and drawn, however long it takes."""

from dataclasses import dataclass, field
from typing import Final

from order_service.stress.histogram import Histogram

_MOST_INTERVALS: Final = 120
_FIRST_WIDTH_SECONDS: Final = 0.25


@dataclass(slots=True)
class Interval:
    """What was answered within it: orders, and the latencies of RPCs that created some."""

    accepted: int = 0
    failed: int = 0
    latencies: Histogram = field(default_factory=Histogram)

    def add(self, other: "Interval") -> None:
        """Makes one of two."""
        self.accepted += other.accepted
        self.failed += other.failed
        self.latencies.add(other.latencies)


class Timeline:
    """Intervals of `width` seconds from the start on. When there are too many, two and two become one."""

    def __init__(self) -> None:
        self.width = _FIRST_WIDTH_SECONDS
        self.intervals: list[Interval] = []

    def at(self, seconds: float) -> Interval:
        """The interval of a moment, to be added to."""
        while seconds >= self.width * _MOST_INTERVALS:
            self._widen()
        place = int(seconds / self.width)
        while len(self.intervals) <= place:
            self.intervals.append(Interval())
        return self.intervals[place]

    def _widen(self) -> None:
        self.width *= 2
        for first, second in zip(self.intervals[::2], self.intervals[1::2], strict=False):
            first.add(second)
        self.intervals = self.intervals[::2]
