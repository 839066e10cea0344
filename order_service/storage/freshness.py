"""Tells which connections need not be asked whether they still work: for a small batch that is a sixth of its cost."""

import select
import time
from collections.abc import Callable
from typing import Any, Final
from weakref import WeakKeyDictionary

import psycopg

_FRESH_SECONDS: Final = 1.0


class Freshness:
    """Remembers when each connection was of use. `clock` tells seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._used: WeakKeyDictionary[psycopg.AsyncConnection[Any], float] = WeakKeyDictionary()

    def note_use(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """Its server has just answered."""
        self._used[connection] = self._clock()

    def is_fresh(self, connection: psycopg.AsyncConnection[Any]) -> bool:
        """Whether it was of use within the last second, and nothing has come over it since: a server that ends a
        session says so, and if it cannot, its machine does. A machine that vanishes within that second is noticed by
        whoever uses the connection next."""
        last = self._used.get(connection)
        return last is not None and self._clock() - last < _FRESH_SECONDS and not _has_news(connection)


def _has_news(connection: psycopg.AsyncConnection[Any]) -> bool:
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))
