"""Writes log lines to standard output: those of one turn of the event loop with few calls to the system, each of which
costs about as much as making a line.

No call writes more than a pipe takes as a whole (POSIX, `write`: up to PIPE_BUF), so processes that share a pipe do not
mix up their lines, but for those that are longer than that.

What is written so late at most is what was told since the loop last turned. An error is written at once, and with it
all that was told before it; so is everything that is told where no event loop runs, and what is left at the exit.
"""

import asyncio
import atexit
import threading
from collections.abc import Iterable, Iterator
from select import PIPE_BUF
from typing import BinaryIO


class Output:
    """A logger of structlog's kind: each method takes a line without its end."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._lines: list[bytes] = []
        self._due_in: asyncio.AbstractEventLoop | None = None
        atexit.register(self.flush)

    def msg(self, line: bytes) -> None:
        """A line that may wait for others."""
        loop = _running_loop()
        with self._lock:
            self._lines.append(line)
            due, self._due_in = self._due_in is loop, loop
        if loop is None:
            self.flush()
        elif not due:
            loop.call_soon(self.flush)

    def error(self, line: bytes) -> None:
        """A line that may not."""
        with self._lock:
            self._lines.append(line)
        self.flush()

    debug = info = warning = warn = log = msg
    critical = fatal = exception = error

    def flush(self) -> None:
        """Writes what waits."""
        with self._lock:
            lines, self._lines, self._due_in = self._lines, [], None
            for piece in _pieces(lines):
                self._file.write(piece)
                self._file.flush()


def _pieces(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Whole lines, as many in one as PIPE_BUF allows, but one at least."""
    piece = bytearray()
    for line in lines:
        if piece and len(piece) + len(line) >= PIPE_BUF:
            yield bytes(piece)
            piece.clear()
        piece += line
        piece += b"\n"
    if piece:
        yield bytes(piece)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
