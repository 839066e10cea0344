"""The process that is forked: imports the service, and becomes it in each of its children.

Run by `forking`, with the number of its control channel. It never starts a thread, for a fork has but one.
"""

import ctypes
import gc
import json
import os
import select
import signal
import socket
import sys
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from order_service.cli import main

_LARGEST: Final = 65_536
_PR_SET_PDEATHSIG: Final = 1
_libc: Final = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class _Child:
    pid: int
    pidfd: int
    channel: socket.socket


@dataclass(frozen=True, slots=True)
class _Wanted:
    arguments: list[str]
    environment: dict[str, str]
    log: int
    channel: socket.socket


class Mother:
    """Forks on request, and tells how each child has ended."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._pid = os.getpid()
        self._children: dict[int, _Child] = {}
        self._polled = select.poll()
        self._polled.register(control, select.POLLIN)

    def serve(self) -> _Wanted | None:
        """Returns what is wanted in each child, and None in the mother once nobody can ask any more."""
        while True:
            for fd, _ in self._polled.poll():
                if fd != self._control.fileno():
                    self._collect(self._children[fd])
                    continue
                wanted = self._take()
                if wanted is None:
                    self._end_all()
                    return None
                if self._fork(wanted) == 0:
                    return wanted

    def _take(self) -> _Wanted | None:
        told, fds, _, _ = socket.recv_fds(self._control, _LARGEST, 2)
        if not told:
            return None
        asked: dict[str, Any] = json.loads(told)
        return _Wanted(asked["arguments"], asked["environment"], fds[0], socket.socket(fileno=fds[1]))

    def _fork(self, wanted: _Wanted) -> int:
        """The child's pid; 0 in the child, which shares nothing with its sisters and dies with its mother."""
        pid = os.fork()
        if pid == 0:
            _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != self._pid:
                os._exit(1)
            self._forget(wanted)
            return 0
        child = _Child(pid, os.pidfd_open(pid), wanted.channel)
        os.close(wanted.log)
        self._children[child.pidfd] = child
        self._polled.register(child.pidfd, select.POLLIN)
        _tell(child.channel, child.pid, [child.pidfd])
        return pid

    def _forget(self, wanted: _Wanted) -> None:
        self._control.close()
        wanted.channel.close()
        for child in self._children.values():
            child.channel.close()
            os.close(child.pidfd)

    def _collect(self, child: _Child) -> None:
        _, status = os.waitpid(child.pid, 0)
        _tell(child.channel, os.waitstatus_to_exitcode(status), [])
        self._polled.unregister(child.pidfd)
        del self._children[child.pidfd]
        child.channel.close()
        os.close(child.pidfd)

    def _end_all(self) -> None:
        for child in self._children.values():
            os.kill(child.pid, signal.SIGKILL)
        for child in self._children.values():
            os.waitpid(child.pid, 0)


def _tell(channel: socket.socket, number: int, fds: list[int]) -> None:
    """Whoever does not want to know any more has closed its end."""
    try:
        socket.send_fds(channel, [str(number).encode()], fds)
    except BrokenPipeError:
        return


def become(wanted: _Wanted) -> NoReturn:
    """What an interpreter and the command's script do at their start. Its environment takes the place of the old."""
    os.dup2(wanted.log, 1)
    os.dup2(wanted.log, 2)
    os.close(wanted.log)
    os.environ.clear()
    os.environ.update(wanted.environment)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = ["order-service", *wanted.arguments]
    sys.exit(main(prog_name="order-service"))


def _run(control: socket.socket) -> None:
    # Ctrl-C is for who asks: this process ends after everything else.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.collect()
    gc.freeze()
    wanted = Mother(control).serve()
    if wanted is not None:
        become(wanted)


if __name__ == "__main__":
    _run(socket.socket(fileno=int(sys.argv[1])))
