"""How a process lives: it starts, works until it is asked to stop or something in it ends, and stops in order."""

import asyncio
import signal
import time
from collections.abc import Coroutine
from typing import Any, Final

import structlog
import uvloop

from order_service.domain.errors import OrderServiceError
from order_service.loops import until_tick, wait_for_event

log: Final = structlog.get_logger()

_BEAT_SECONDS: Final = 1.0
_DEAD_SECONDS: Final = 15.0


class Heartbeat:
    """Shows that the event loop turns: what `/healthz` tells."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    async def run(self, stopping: asyncio.Event) -> None:
        """Beats until `stopping` is set."""
        while not stopping.is_set():
            self._last = time.monotonic()
            await wait_for_event(stopping, until_tick(_BEAT_SECONDS))

    def wrong(self) -> str:
        """Empty while the event loop turns, else for how long it has not."""
        still = time.monotonic() - self._last
        return f"the event loop has not turned for {still:.0f} s" if still > _DEAD_SECONDS else ""


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
