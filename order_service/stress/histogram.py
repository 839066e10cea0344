"""Latencies in buckets: exact to less than one per cent, in a memory that does not grow with their number.

As in Gil Tene's HdrHistogram: each power of two is divided into equally many buckets, so that a bucket is never wider
than a fixed share of what is in it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_BITS: Final = 7
_BUCKETS_OF_A_POWER: Final = 1 << _BITS
_MICROSECONDS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Summary:
    """Percentiles in seconds, of so many values."""

    count: int
    p50: float
    p95: float
    p99: float
    max: float


class Histogram:
    """Counts durations in seconds."""

    __slots__ = ("_counts", "count", "max")

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self.count = 0
        self.max = 0.0

    def record(self, seconds: float) -> None:
        """Adds a value; one below zero counts as zero."""
        bucket = _bucket(int(max(seconds, 0.0) * _MICROSECONDS))
        self._counts[bucket] = self._counts.get(bucket, 0) + 1
        self.count += 1
        self.max = max(self.max, seconds)

    def add(self, other: "Histogram") -> None:
        """Adds all values of another one."""
        for bucket, count in other._counts.items():
            self._counts[bucket] = self._counts.get(bucket, 0) + count
        self.count += other.count
        self.max = max(self.max, other.max)

    def percentile(self, percent: float) -> float:
        """The value that so many per cent do not exceed, in seconds; 0 if there is none."""
        rank, below = self.count * percent / 100, 0
        for _, upper, count in self.buckets():
            below += count
            if below >= rank:
                return min(upper, self.max)
        return 0.0

    def summary(self) -> Summary | None:
        """None if nothing was recorded."""
        if not self.count:
            return None
        return Summary(self.count, self.percentile(50), self.percentile(95), self.percentile(99), self.max)

    def buckets(self) -> Iterator[tuple[float, float, int]]:
        """From, below, and how many, in seconds and in order; those that hold nothing are left out."""
        for bucket in sorted(self._counts):
            yield _lower(bucket) / _MICROSECONDS, _lower(bucket + 1) / _MICROSECONDS, self._counts[bucket]


def _bucket(value: int) -> int:
    """The number of the bucket that a value is in. The first two powers' worth of values have one each."""
    shift = max(0, value.bit_length() - _BITS - 1)
    return shift * _BUCKETS_OF_A_POWER + (value >> shift)


def _lower(bucket: int) -> int:
    """The least value of a bucket."""
    shift = max(0, bucket // _BUCKETS_OF_A_POWER - 1)
    return (bucket - shift * _BUCKETS_OF_A_POWER) << shift
