"""A program that is stopped, frozen and killed from outside, and started again."""

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

from order_service.private_servers.child_process import ChildProcess, Program, running
from tests.waiting import eventually


class Child:
    """One program, at most once at a time. Start it in the main thread: it is bound to the thread by the kernel."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.starts = 0
        self._stack = ExitStack()
        self._running: ChildProcess | None = None

    @property
    def pid(self) -> int:
        """Of the running program. Raises RuntimeError if it was not started."""
        if self._running is None:
            raise RuntimeError(f"{self.program.name} is not running")
        return self._running.process.pid

    @property
    def is_alive(self) -> bool:
        """Whether it was started and has not ended."""
        return self._running is not None and not self._running.has_ended()

    def start(self) -> None:
        """Starts it, after what is left of the one before is gone."""
        self._forget()
        self.starts += 1
        self._running = self._stack.enter_context(running(self.program))

    def send(self, number: signal.Signals) -> None:
        """Signals the program alone."""
        if self.is_alive:
            os.kill(self.pid, number)

    def send_all(self, number: signal.Signals) -> None:
        """Signals the program and all that came of it."""
        if self.is_alive:
            for pid in (self.pid, *descendants(self.pid)):
                with suppress(ProcessLookupError):
                    os.kill(pid, number)

    async def end(self, number: signal.Signals = signal.SIGKILL, seconds: float = 20.0) -> None:
        """Asks it to end, with SIGKILL after that time; returns once it and its children are gone."""
        if self._running is None:
            return
        left = descendants(self.pid)
        self.send_all(signal.SIGCONT)
        self.send(number)
        if not await self.has_ended(seconds):
            self.send(signal.SIGKILL)
            await self.has_ended(seconds)
        self._forget()
        await _gone(left, seconds)

    async def has_ended(self, seconds: float) -> bool:
        """Waits for its end, whoever brings it about."""
        ends = time.monotonic() + seconds
        while self.is_alive:
            if time.monotonic() > ends:
                return False
            await asyncio.sleep(0.02)
        return True

    def exit_code(self) -> int | None:
        """How it ended by itself; None if it has not."""
        return self._running.process.poll() if self._running is not None and not self.is_alive else None

    def close(self) -> None:
        """Ends it in its own way, however it stands."""
        self.send_all(signal.SIGCONT)
        self._forget()

    def _forget(self) -> None:
        self._running = None
        self._stack.close()


def descendants(pid: int) -> list[int]:
    """The processes that came of one, as far as they still hang on it."""
    children: dict[int, list[int]] = {}
    for child, parent in _parents():
        children.setdefault(parent, []).append(child)
    found: list[int] = []
    waiting = [pid]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


def _parents() -> Iterator[tuple[int, int]]:
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(OSError):
                yield int(folder.name), int((folder / "stat").read_text().rpartition(")")[2].split()[1])


async def _gone(pids: list[int], seconds: float) -> None:
    """Waits until none of them lives: a PostgreSQL cannot start while a backend of the one before does."""
    with suppress(AssertionError):
        await eventually(lambda: not any(_lives(pid) for pid in pids), seconds)


def _lives(pid: int) -> bool:
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
