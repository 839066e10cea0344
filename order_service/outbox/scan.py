"""Where the next look at each bucket of the outbox begins."""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from order_service.storage.outbox import DueEvent

_START: Final = datetime(1, 1, 1, tzinfo=UTC)
_OVERLAP: Final = timedelta(seconds=1)
"""Looked at again each time: an event becomes visible when its transaction commits, a little after its due time."""

_RESCAN_SECONDS: Final = 1.0
"""How often to look from the start: finds what was committed later than the overlap, and what its order held back."""

_RESCAN_SHARE: Final = 0.05
"""Of the time at most: with very many deleted rows that cannot be vacuumed a look from the start takes long."""


class Scan:
    """Spares walking over deleted rows that are not vacuumed yet: without it a long transaction elsewhere in the
    database would make each look at a busy outbox slower than the one before. And gives buckets turns: when more is due
    than a window holds, the next one begins with the bucket after that at which the last one ended."""

    def __init__(self) -> None:
        self._since: dict[int, datetime] = {}
        self._rescan_at = 0.0
        self._rescanned_at = 0.0
        self._rescan_seconds = 0.0
        self._last_bucket = -1

    def since(self, buckets: Iterable[int], clock: float) -> Mapping[int, datetime]:
        """For each bucket, in the order of their turns, the due time to look from. `clock` is monotonic, in seconds."""
        if clock >= self._rescan_at:
            self._since.clear()
            self._rescan_at = clock + _RESCAN_SECONDS
            self._rescanned_at, self._rescan_seconds = clock, 0.0
        ordered = sorted(buckets)
        first = bisect_right(ordered, self._last_bucket)
        return {bucket: self._since.get(bucket, _START) for bucket in ordered[first:] + ordered[:first]}

    def saw(self, batch: Sequence[DueEvent], seconds: float = 0.0) -> None:
        """Notes how far a look came, and how long it took. Looking from the start goes on over as many looks as it
        takes until each bucket has had its turn."""
        if not self._since or any(due.bucket not in self._since for due in batch):
            self._rescan_seconds += seconds
            self._rescan_at = self._rescanned_at + max(_RESCAN_SECONDS, self._rescan_seconds / _RESCAN_SHARE)
        for due in batch:
            reached = due.due_at - _OVERLAP if due.due_at > _START + _OVERLAP else _START
            self._since[due.bucket] = max(self._since.get(due.bucket, _START), reached)
            self._last_bucket = due.bucket
