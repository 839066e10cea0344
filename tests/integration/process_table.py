"""What Linux tells of processes."""

from collections.abc import Iterator, Set
from contextlib import suppress
from pathlib import Path

_ESTABLISHED, _LISTEN = "01", "0A"
"""States of a TCP socket (Linux, `include/net/tcp_states.h`)."""


def children_of(pid: int) -> list[int]:
    """The processes that the main thread of one has started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_gone(pid: int) -> bool:
    """Whether a process has ended, be it that nobody has asked for its exit code."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def connections_at(port: int, pid: int) -> int:
    """How many clients are connected to a process at one of its ports."""
    return len(_at(port, _ESTABLISHED) & set(_sockets_of(pid)))


def listeners_at(port: int, pid: int) -> int:
    """How many sockets of a process listen on a port."""
    return len(_at(port, _LISTEN) & set(_sockets_of(pid)))


def _at(port: int, state: str) -> Set[str]:
    tables = [Path(f"/proc/net/{family}").read_text().splitlines()[1:] for family in ("tcp", "tcp6")]
    lines = [line.split() for table in tables for line in table]
    # Columns of proc_net_tcp: local address, state, inode.
    return {line[9] for line in lines if line[3] == state and int(line[1].rpartition(":")[2], 16) == port}


def _sockets_of(pid: int) -> Iterator[str]:
    for file in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            kind, _, inode = str(file.readlink()).partition(":[")
            if kind == "socket":
                yield inode.removesuffix("]")
