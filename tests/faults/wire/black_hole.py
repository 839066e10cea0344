"""Makes a connection half-open for real: to the kernel of the other side it looks as if this machine were gone.

A socket filter that takes nothing drops each packet before TCP sees it: data is not acknowledged, keepalive probes are
not answered, and not even the end of the connection is noticed. What a process or a server does against such peers, by
heartbeats, keepalives and TCP_USER_TIMEOUT, is thereby put to the test as it is. Linux only; needs no privileges.
"""

import ctypes
import socket
import struct
from typing import Final

_SO_ATTACH_FILTER: Final = 26
_SO_DETACH_FILTER: Final = 27
_TAKE_NOTHING: Final = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))
"""Classic BPF: `ret #0`."""


def swallow(sock: socket.socket) -> None:
    """From now on nothing arrives at this socket any more."""
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HL", 1, ctypes.addressof(_TAKE_NOTHING)))


def release(sock: socket.socket) -> None:
    """Everything arrives again: what was sent again meanwhile first."""
    sock.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)
