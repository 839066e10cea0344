"""The TCP port of the gRPC server, before anybody listens on it."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from order_service.domain.errors import OrderServiceError

_ALL_ADDRESSES: Final = "::"
_ALL_OF_IPV4: Final = "0.0.0.0"  # noqa: S104 - what the operator asked for


class PortTaken(OrderServiceError):
    """The port of the gRPC server cannot be listened on."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(f"GRPC_PORT: cannot listen on {host}:{port}; is another process using it?")


@contextmanager
def shared_port(host: str, port: int) -> Iterator[int]:
    """A port that several processes will listen on together; 0 takes any that is free.

    It is held by a socket that is bound and never listens: those who set SO_REUSEADDR, as gRPC does, may listen beside
    it, and nobody is given the port in a search for a free one. Raises PortTaken if somebody listens already: with
    SO_REUSEPORT the second of two servers would take half of the other's connections in silence.
    """
    try:
        holder = _bound(host.strip("[]"), port)
    except OSError as error:
        raise PortTaken(host, port) from error
    with holder:
        yield holder.getsockname()[1]


def _bound(host: str, port: int) -> socket.socket:
    if host == _ALL_ADDRESSES and not socket.has_dualstack_ipv6():
        # All addresses of such a machine are those of IPv4, for gRPC too.
        host = _ALL_OF_IPV4
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    holder = socket.socket(family, kind, protocol)
    try:
        if family == socket.AF_INET6:
            holder.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(address)
    except OSError:
        holder.close()
        raise
    return holder
