"""Rates and percentiles of what was noted while it happened."""

from collections.abc import Sequence

Mark = tuple[float, int]
"""A time in seconds, and how many were done then."""

_BEGIN, _END = 0.1, 0.9


def middle_rate(marks: Sequence[Mark]) -> float:
    """How many were done in a second, from where a tenth of all was done to where nine tenths were: neither the first
    steps nor the last ones, which find little left to do, count. `marks` are in the order of their times. Raises
    ValueError if that span holds no time."""
    total = sum(count for _, count in marks)
    done, span = 0, []
    for at, count in marks:
        done += count
        if _BEGIN * total <= done <= _END * total:
            span.append((at, done))
    if len(span) < 2 or span[-1][0] <= span[0][0]:
        raise ValueError(f"too few steps to tell a rate by: {len(marks)}")
    return (span[-1][1] - span[0][1]) / (span[-1][0] - span[0][0])


def percentile(values: Sequence[float], share: float) -> float:
    """The least value that `share` of the values do not exceed. Raises ValueError if there are none."""
    ordered = sorted(values)
    if not ordered:
        raise ValueError("of no values")
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
