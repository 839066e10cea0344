"""Who accepts calls: several of gRPC's servers that listen on one port together, within one process.

A server of gRPC for Python asks its core for one call at a time, and for the next only once it has begun that one,
which takes five turns of the event loop (grpc/grpc `src/python/grpcio/grpc/_cython/_cygrpc/aio/server.pyx.pxi`,
`_server_main_loop`). Several ask side by side, and each turn does more: a tenth of the CPU of a call. The kernel deals
the connections out among them (SO_REUSEPORT), so a client with a single one is no faster for it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import grpc

from order_service.api.connections import is_listener, listeners_of
from order_service.api.ports import PortTaken

ACCEPTORS: Final = 4
"""In a process. Eight bring no more, to a client with four connections."""

_MOST_PENDING: Final = 100_000

_OPTIONS: Final = (
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    # gRPC cancels (CANCELLED) some of the calls that Python has not looked at when they are 1,000, and all above 3,000
    # (grpc/grpc `src/core/server/server.h`). Python looks at them, and tells those that are too many UNAVAILABLE.
    ("grpc.server.max_pending_requests", _MOST_PENDING),
    ("grpc.server.max_pending_requests_hard_limit", _MOST_PENDING),
)


@dataclass(frozen=True, slots=True)
class Listening:
    """Where to listen; port 0 takes any that is free. `shared` is a port that other processes listen on too."""

    host: str
    port: int
    reflection: bool
    shared: bool = False

    def options(self) -> Sequence[tuple[str, int]]:
        """gRPC's. Unless the port is meant to be shared, a second server must not bind it in silence and take half of
        the calls."""
        return (*_OPTIONS, ("grpc.so_reuseport", int(self.shared)))


@dataclass(frozen=True, slots=True)
class Acceptor:
    """One of the servers, and a file by which it listens: None where the system does not tell, and it counts as
    listening then."""

    server: grpc.aio.Server
    port: int
    listener: int | None

    def listens(self) -> bool:
        """Whether gRPC has not ended it."""
        return self.listener is None or is_listener(self.listener, self.port)


async def accept(listening: Listening, methods: grpc.GenericRpcHandler) -> Acceptor:
    """A server that accepts calls of these methods. Raises PortTaken."""
    server = grpc.aio.server(handlers=[methods], options=listening.options())
    earlier = listeners_of(listening.port)
    try:
        port: int = server.add_insecure_port(f"{listening.host}:{listening.port}")
    except RuntimeError as error:
        raise PortTaken(listening.host, listening.port) from error
    await server.start()
    return Acceptor(server, port, next((one for one in listeners_of(port) if one not in earlier), None))
