"""A histogram as lines of text: a row for each range of latencies, with round limits."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from order_service.stress.histogram import Histogram

_STEPS: Final = ((1.0, 1.5, 2.0, 3.0, 5.0, 7.0), (1.0, 2.0, 5.0), (1.0,))
_MOST_ROWS: Final = 16
_LEAST_SECONDS: Final = 1e-6
_EIGHTHS: Final = " ▏▎▍▌▋▊▉█"


@dataclass(frozen=True, slots=True)
class Row:
    """How many values are at least `lower` and below `upper` seconds."""

    lower: float
    upper: float
    count: int


def rows(histogram: Histogram) -> list[Row]:
    """From the least to the greatest value, none left out in between; as fine as few rows allow."""
    buckets = [(lower, count) for lower, _, count in histogram.buckets()]
    if not buckets:
        return []
    for steps in _STEPS:
        limits = _limits(max(buckets[0][0], _LEAST_SECONDS), max(buckets[-1][0], _LEAST_SECONDS), steps)
        if len(limits) <= _MOST_ROWS + 1:
            break
    counts = [0] * (len(limits) - 1)
    place = 0
    for lower, count in buckets:
        while lower >= limits[place + 1]:
            place += 1
        counts[place] += count
    return [Row(*limit, count) for limit, count in zip(pairwise(limits), counts, strict=True)]


def _limits(least: float, greatest: float, steps: Sequence[float]) -> list[float]:
    """Round numbers around both."""
    numbers = [step * 10.0**power for power in range(-7, 7) for step in steps]
    first = max(place for place, number in enumerate(numbers) if number <= least)
    last = min(place for place, number in enumerate(numbers) if number > greatest)
    return numbers[first : last + 1]


def lines(histogram: Histogram, width: int) -> Iterator[str]:
    """The rows with bars that are up to so many characters wide."""
    found = rows(histogram)
    most = max((row.count for row in found), default=0)
    for row in found:
        span = f"{limit(row.lower):>7} - {limit(row.upper):<7}"
        yield f"{span} {_bar(row.count / most, width)} {row.count:>9,} {row.count / histogram.count:>6.1%}"


def _bar(share: float, width: int) -> str:
    """Never empty unless the share is 0."""
    eighths = max(round(share * width * 8), 1 if share else 0)
    whole, rest = divmod(eighths, 8)
    return ("█" * whole + (_EIGHTHS[rest] if rest else "")).ljust(width)


def duration(seconds: float) -> str:
    """Three digits in the unit that suits."""
    if seconds < 0.000_9995:
        return f"{seconds * 1e6:.0f} us"
    number, unit = (seconds * 1e3, "ms") if seconds < 0.9995 else (seconds, "s")
    decimals = 2 if number < 9.995 else 1 if number < 99.95 else 0
    return f"{number:,.{decimals}f} {unit}"


def limit(seconds: float) -> str:
    """A round duration, without needless zeros."""
    number, unit = duration(seconds).split()
    return f"{float(number.replace(',', '')):,g} {unit}"
