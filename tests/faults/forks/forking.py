"""The side of who wants processes: asks the mother for them, and knows each by a channel and a pidfd."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.integration.platform import basic_environment

_LARGEST: Final = 64
_GRACE_SECONDS: Final = 10.0


class MotherGone(Exception):
    """The process that forks has ended: it tells why on standard error."""


class Forked:
    """One process, handled like a `subprocess.Popen`, though it is no child of this one."""

    def __init__(self, arguments: Sequence[str], channel: socket.socket, pid: int, pidfd: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._arguments = arguments
        self._channel = channel
        self._pidfd = pidfd

    def poll(self) -> int | None:
        """How it ended; None if it has not. Negative: by which signal."""
        return self._ended_within(0.0)

    def wait(self, timeout: float | None = None) -> int:
        """How it ended. Raises subprocess.TimeoutExpired."""
        code = self._ended_within(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(list(self._arguments), timeout or 0.0)
        return code

    def send_signal(self, sig: int) -> None:
        """Does nothing to a process that has ended."""
        if self.returncode is None:
            try:
                signal.pidfd_send_signal(self._pidfd, sig)
            except ProcessLookupError:
                return

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def _ended_within(self, seconds: float | None) -> int | None:
        if self.returncode is None and _is_readable(self._channel, seconds):
            told = self._channel.recv(_LARGEST)
            # Whoever lost its mother got SIGKILL with her.
            self.returncode = int(told) if told else -signal.SIGKILL
            self._channel.close()
            os.close(self._pidfd)
        return self.returncode


class Forks:
    """Made by `forking`."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control

    def launch(self, arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> Forked:
        """Starts `order-service ARGUMENTS`, and does not wait until it has begun to work. Raises MotherGone."""
        asked = json.dumps({"arguments": list(arguments), "environment": dict(environment)}).encode()
        channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs, log.open("wb") as output:
            try:
                socket.send_fds(self._control, [asked], [output.fileno(), theirs.fileno()])
            except OSError as error:
                channel.close()
                raise MotherGone from error
        told, pidfds, _, _ = socket.recv_fds(channel, _LARGEST, 1)
        if not told:
            channel.close()
            raise MotherGone
        return Forked(arguments, channel, int(told), pidfds[0])


@contextmanager
def forking() -> Iterator[Forks]:
    """Forks within the block; at its end, whatever is left gets SIGKILL."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        with theirs:
            mother = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.forks.mother", str(theirs.fileno())],
                env=basic_environment(),
                pass_fds=[theirs.fileno()],
                stdout=subprocess.DEVNULL,
            )
        try:
            yield Forks(ours)
        finally:
            ours.close()
            mother.wait(_GRACE_SECONDS)


def _is_readable(channel: socket.socket, seconds: float | None) -> bool:
    polled = select.poll()
    polled.register(channel, select.POLLIN)
    return bool(polled.poll(None if seconds is None else seconds * 1000))
