"""Network links that can be cut, frozen and slowed down, each a proxy on a port of its own."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from order_service.private_servers.ports import LOOPBACK, reserved_ports
from tests.integration.tcp_proxy import TcpProxy


@dataclass(frozen=True, slots=True)
class Link:
    """The way to one server: `port` leads through the proxy."""

    proxy: TcpProxy
    port: int


@asynccontextmanager
async def link_to(port: int) -> AsyncIterator[Link]:
    """A link to a port of this machine, whether anybody listens there yet or not."""
    with reserved_ports(1) as (own_port,):
        proxy = TcpProxy(LOOPBACK, port, own_port)
        await proxy.restore()
        try:
            yield Link(proxy, own_port)
        finally:
            await proxy.cut()
