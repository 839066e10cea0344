"""Programs started as children that cannot outlive this process.

A child is bound to us by the kernel: when we die, however we die, it gets its `death_signal`. It runs in a session
of its own, so that Ctrl-C in the terminal reaches only us, and we stop what we started in order.

The kernel binds a child to the thread that started it: start children in a thread that lives as long as they should.
"""

import os
import select
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from order_service.private_servers.account import MISSING_SETPRIV, Account
from order_service.private_servers.interrupts import interrupts_deferred
from order_service.private_servers.unavailable import ServerUnavailable

# If we died before setpriv could bind the child, its parent is someone else by now, and it must not start.
_UNLESS_ORPHANED = '[ "$PPID" = "$1" ] || exit 1; shift; exec "$@"'
_LOG_LINES_TOLD = 4


@dataclass(frozen=True, slots=True)
class Program:
    """What to run, and how it is to end: `farewell` is signals, each with the seconds it is given; then SIGKILL."""

    name: str
    command: tuple[str, ...]
    environ: Mapping[str, str]
    log: Path
    death_signal: signal.Signals
    farewell: tuple[tuple[signal.Signals, float], ...]
    account: Account | None = None
    folder: Path = Path("/")


@dataclass(frozen=True, slots=True)
class ChildProcess:
    """A running program. Only this class signals it, by its id, and never after its end was collected."""

    program: Program
    process: subprocess.Popen[bytes]
    pidfd: int

    def has_ended(self, within: float = 0.0) -> bool:
        """Waits up to `within` seconds for the end of the child, and leaves its id taken."""
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        return bool(poll.poll(within * 1000))

    def wait_until(self, ready: Callable[[], bool], seconds: float) -> None:
        """Raises ServerUnavailable, with the last lines of the log, on an early end or after `seconds`."""
        deadline = monotonic() + seconds
        while not ready():
            if self.has_ended(within=0.05):
                raise self.failure("stopped while starting")
            if monotonic() > deadline:
                raise self.failure(f"did not answer within {seconds:.0f} s")

    def failure(self, what: str) -> ServerUnavailable:
        lines = self.program.log.read_text(errors="replace").splitlines()
        told = [line.strip() for line in lines if line.strip()][-_LOG_LINES_TOLD:]
        return ServerUnavailable(f"{self.program.name} {what}: {' | '.join(told) or 'it logged nothing'}")

    def stop(self) -> None:
        """Ends the child and what is left of its process group; returns once the child is gone."""
        if self.process.returncode is None:
            for number, seconds in self.program.farewell:
                os.kill(self.process.pid, number)
                if self.has_ended(within=seconds):
                    break
            # Not collected yet, the child still holds its id, so the group of that id is ours.
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        os.close(self.pidfd)


@contextmanager
def running(program: Program) -> Iterator[ChildProcess]:
    """The program runs within the block, and not after it."""
    with interrupts_deferred():
        child = _start(program)
    try:
        yield child
    finally:
        with interrupts_deferred():
            child.stop()


def run_to_end(program: Program, seconds: float) -> None:
    """Raises ServerUnavailable when the program fails or takes longer than `seconds`."""
    with running(program) as child:
        if not child.has_ended(within=seconds):
            raise child.failure(f"was not done within {seconds:.0f} s")
        if child.process.wait() != 0:
            raise child.failure("failed")


def bound_to_us(command: Sequence[str], death_signal: signal.Signals, account: Account | None = None) -> list[str]:
    """The command as another account if one is given, bound to this process by `death_signal`."""
    identity = account.setpriv_options() if account else []
    binding = f"--pdeathsig={death_signal.name.removeprefix('SIG')}"
    return ["setpriv", *identity, binding, "--", "/bin/sh", "-c", _UNLESS_ORPHANED, "sh", str(os.getpid()), *command]


def _start(program: Program) -> ChildProcess:
    command = bound_to_us(program.command, program.death_signal, program.account)
    try:
        with program.log.open("ab") as log:
            process = subprocess.Popen(
                command,
                env=program.environ,
                cwd=program.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
    except FileNotFoundError as error:
        raise ServerUnavailable(MISSING_SETPRIV) from error
    return ChildProcess(program, process, os.pidfd_open(process.pid))
