"""The TCP connections of the gRPC server.

gRPC for Python has one way to stop a server, and it cancels calls that nobody has looked at: from the first moment of
`Server.stop` the core answers CANCELLED to every call that reaches a connection before its client has read the GOAWAY
(grpc/grpc `src/core/server/server.cc`: `Server::CallData::StartNewRpc` and `PublishNewRpc` kill a call once
`ShutdownCalled()`; `Server::SendGoaways`, which would do no harm, is out of reach). A connection that ends is
UNAVAILABLE to its client, for every call on it. So connections are ended first, at the level of TCP and each when no
call on it is under way, and the server is stopped when none is left.
"""

import os
import socket
from collections.abc import Container, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

_OWN_FILES: Final = Path("/dev/fd")
"""The open files of this process, by number: on Linux and on the BSDs."""


def close_port(port: int) -> None:
    """Takes no more connections. gRPC is left with a socket that nobody connects to: it would call one that fails an
    error of its own."""
    for number in _numbers():
        with _socket_of(number) as found:
            listening = found is not None and _listens(found) and found.getsockname()[1] == port
        if listening:
            with socket.socket() as unconnected:
                os.dup2(unconnected.fileno(), number, inheritable=False)


def end_connections(port: int, spared: Container[int]) -> int:
    """Ends each connection to a port, after what was written to it, unless its client's port is `spared`; returns how
    many are left."""
    left = 0
    for number in _numbers():
        with _socket_of(number) as found:
            if found is None or _listens(found) or found.getsockname()[1:2] != (port,):
                continue
            with suppress(OSError):
                if found.getpeername()[1] in spared:
                    left += 1
                else:
                    found.shutdown(socket.SHUT_RDWR)
    return left


def share_port(port: int) -> None:
    """Lets others of this user listen on a port beside those of this process who do, if they mean to (SO_REUSEPORT).
    Until then nobody could (on Linux; elsewhere it may come too late)."""
    for number in listeners_of(port):
        with _socket_of(number) as found:
            if found is not None:
                found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)


def listeners_of(port: int) -> list[int]:
    """The numbers of the open files that listen on a port."""
    return [number for number in _numbers() if is_listener(number, port)]


def is_listener(number: int, port: int) -> bool:
    """Whether the open file of that number listens on that port."""
    with _socket_of(number) as found:
        return found is not None and _listens(found) and found.getsockname()[1] == port


def _numbers() -> Iterator[int]:
    try:
        names = [one.name for one in _OWN_FILES.iterdir()]
    except OSError:
        names = []
    return (int(name) for name in names)


@contextmanager
def _socket_of(number: int) -> Iterator[socket.socket | None]:
    """A TCP socket under a number of its own, so that what is done to it is done to no other; None if it is none."""
    found = _copy_of(number)
    if found is None:
        yield None
        return
    with found:
        yield found if found.family in (socket.AF_INET, socket.AF_INET6) and found.type == socket.SOCK_STREAM else None


def _copy_of(number: int) -> socket.socket | None:
    try:
        copy = os.dup(number)
    except OSError:
        return None
    try:
        return socket.socket(fileno=copy)
    except OSError:
        os.close(copy)
        return None


def _listens(found: socket.socket) -> bool:
    return bool(found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
