"""What one of several processes tells the one that started it, which speaks for all: a line of JSON each second."""

import asyncio
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec
import structlog

from order_service.lifecycle import DEAD_SECONDS, Heartbeat
from order_service.telemetry.readiness import Readiness

log: Final = structlog.get_logger()


class ReportingHeartbeat(Heartbeat):
    """Writes the needs that are not met to a pipe, at each beat and when they change. Once nobody reads, it asks its
    process to stop: what nobody watches must not go on serving."""

    def __init__(self, pipe: int, readiness: Readiness, stopping: asyncio.Event) -> None:
        super().__init__()
        os.set_blocking(pipe, False)
        readiness.changed = self.beat
        self._pipe = pipe
        self._readiness = readiness
        self._stopping = stopping

    def beat(self) -> None:
        super().beat()
        try:
            os.write(self._pipe, msgspec.json.encode(self._readiness.wrong()) + b"\n")
        except BlockingIOError:
            # Whoever reads stands still, and will find what it has not read.
            pass
        except OSError:
            if not self._stopping.is_set():
                log.error("process.left_alone")
            self._stopping.set()


@dataclass(slots=True)
class Reports:
    """The last report of a process, and whether it could serve by any of them. Written by the event loop and read by
    the threads of `telemetry.http`."""

    unmet: Mapping[str, str] = field(default_factory=lambda: {"started": "starting"})
    has_served: bool = False
    _at: float = field(default_factory=time.monotonic)

    def wrong(self) -> str:
        """Empty while reports come, else for how long none has."""
        silent = time.monotonic() - self._at
        return f"has told nothing for {silent:.0f} s" if silent > DEAD_SECONDS else ""

    async def read(self, pipe: int) -> None:
        """Takes reports until nobody can send any more; closes the pipe."""
        reader = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(pipe, "rb")
        )
        try:
            async for line in reader:
                self.unmet, self._at = msgspec.json.decode(line, type=dict[str, str]), time.monotonic()
                self.has_served = self.has_served or not self.unmet
        finally:
            transport.close()
