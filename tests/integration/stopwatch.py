"""Measures what the service takes, and not what the machine does meanwhile."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_BEAT_SECONDS = 0.01
_LATE_SECONDS = 0.05
"""Whoever wants to run is let run well within this, unless the machine is overloaded or stands still."""


class Stopwatch:
    """Counts the time in which processes of this machine were let run. Made by `running`.

    A thread wants to run a hundred times a second. When it is let run much later than that, then so was the service,
    and what was lost is no part of what the service takes."""

    def __init__(self) -> None:
        self._began = self._beaten = time.monotonic()
        self._ended = threading.Event()
        self._lost = 0.0
        self.longest = 0.0
        """Seconds for which nobody was let run, without a break."""

    @classmethod
    @contextmanager
    def running(cls) -> Iterator["Stopwatch"]:
        """Counts from the beginning of the block on."""
        watch = cls()
        thread = threading.Thread(target=watch._beat, name="stopwatch")
        thread.start()
        try:
            yield watch
        finally:
            watch._ended.set()
            thread.join()

    def seconds(self) -> float:
        """So much has been counted until now."""
        return time.monotonic() - self._began - self.lost()

    def lost(self) -> float:
        """Seconds that have gone by until now and are not counted."""
        return self._lost + self._late(time.monotonic())

    def _beat(self) -> None:
        while not self._ended.wait(_BEAT_SECONDS):
            now = time.monotonic()
            late = self._late(now)
            self._lost += late
            self.longest = max(self.longest, late)
            self._beaten = now

    def _late(self, now: float) -> float:
        """By how much the beat that is due now comes too late, if that is more than usual."""
        late = now - self._beaten - _BEAT_SECONDS
        return late if late > _LATE_SECONDS else 0.0
