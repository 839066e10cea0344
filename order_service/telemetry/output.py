"""Writes log lines to standard output: those of one turn of the event loop with few calls to the system, each of which
costs about as much as making a line.

No call writes more than a pipe takes as a whole (POSIX, `write`: up to PIPE_BUF), so processes that share a pipe do not
mix up their lines, but for those that are longer than that.

What is written so late at most is what was told since the loop last turned. An error is written at once, and with it
all that was told before it; so is everything that is told where no event loop runs, and what is left at the exit.

A line that cannot be written is lost, and standard error says when that begins: whoever reads the log may go, and its
disk fill up, and no order may fail because of that.
"""

import asyncio
import atexit
import os
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from select import PIPE_BUF
from typing import IO, Any, BinaryIO


class Output:
    """A logger of structlog's kind: each method takes a line without its end."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._lines: list[bytes] = []
        self._due_in: asyncio.AbstractEventLoop | None = None
        self._losing = False
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
            try:
                for piece in _pieces(lines):
                    self._file.write(piece)
                    self._file.flush()
                    self._losing = False
            except OSError as error:
                self._lose(error)

    def _lose(self, error: OSError) -> None:
        # A process may have no standard error (`2>&-`).
        if not self._losing and sys.stderr is not None:
            with suppress(OSError):
                os.write(sys.stderr.fileno(), f"order-service: log lines are lost: {error}\n".encode())
        self._losing = True
        if isinstance(error, BrokenPipeError):
            # It stays so.
            discard(self._file)


def discard(file: IO[Any]) -> None:
    """Sends nowhere what is written to an open file from now on, and what waits in its buffer: Python flushes standard
    output once more at its end, and would complain."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, file.fileno())
    os.close(nowhere)


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
