"""How a process lives: it starts, works until it is asked to stop or something in it ends, and stops in order."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final

import structlog
import uvloop

from order_service.domain.errors import OrderServiceError
from order_service.loops import until_tick

log: Final = structlog.get_logger()

_BEAT_SECONDS: Final = 1.0
DEAD_SECONDS: Final = 15.0
"""An event loop that has not turned for so long is dead."""


class Heartbeat:
    """Shows that the event loop turns: what `/healthz` tells."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    @asynccontextmanager
    async def beating(self) -> AsyncIterator[None]:
        """Beats within the block, whatever is waited for there."""
        beats = asyncio.create_task(self._keep_beating(), name="heartbeat")
        try:
            yield
        finally:
            beats.cancel()

    async def _keep_beating(self) -> None:
        while True:
            self.beat()
            await asyncio.sleep(until_tick(_BEAT_SECONDS))

    def beat(self) -> None:
        """One beat."""
        self._last = time.monotonic()

    def wrong(self) -> str:
        """Empty while the event loop turns, else for how long it has not."""
        still = time.monotonic() - self._last
        return f"the event loop has not turned for {still:.0f} s" if still > DEAD_SECONDS else ""


def stop_on_signals(stopping: asyncio.Event) -> None:
    """SIGTERM and SIGINT ask to stop; a second one of them changes nothing, SIGKILL is always safe."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _ask_to_stop, stopping, number)


def _ask_to_stop(stopping: asyncio.Event, number: signal.Signals) -> None:
    if not stopping.is_set():
        log.info("process.stopping", signal=number.name)
    stopping.set()


def run(process: Coroutine[Any, Any, None]) -> int:
    """Runs a process to its end; the exit code: 0 if it was asked to stop, 1 if something in it failed."""
    try:
        uvloop.run(process)
    except OrderServiceError as error:
        log.error("process.failed", error=str(error), exc_info=error.__cause__)
        return 1
    except Exception as error:
        log.critical("process.crashed", exc_info=error)
        return 1
    log.info("process.stopped")
    return 0
