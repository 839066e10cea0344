"""Free ports that stay free until their server takes them."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

LOOPBACK = "127.0.0.1"


@contextmanager
def reserved_ports(count: int) -> Iterator[list[int]]:
    """Distinct ports of 127.0.0.1 that nobody else is given within the block.

    Each is held by a socket that is bound but does not listen. A server that sets SO_REUSEADDR, as ours do, can
    listen on such a port, while Linux hands it neither to another search for a free port nor to an outgoing
    connection. Without the hold, a broker that takes ten seconds to start often finds its port taken.
    """
    with ExitStack() as stack:
        holders = [stack.enter_context(socket.socket()) for _ in range(count)]
        for holder in holders:
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            holder.bind((LOOPBACK, 0))
        yield [holder.getsockname()[1] for holder in holders]
