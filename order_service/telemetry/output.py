"""Writes log lines to standard output: those of one turn of the event loop with one call to the system, which for a
single line costs about as much as making it.

What is written so late at most is what was told since the loop last turned. An error is written at once, and with it
all that was told before it; so is everything that is told where no event loop runs, and what is left at the exit.
"""

import asyncio
import atexit
import threading
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
            if lines:
                self._file.write(b"\n".join(lines) + b"\n")
                self._file.flush()


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
