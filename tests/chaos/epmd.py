"""A stand-in for Erlang's port mapper that tells one node where the others are: behind proxies of ours.

Each node of the cluster has one of its own, so what it is told about its neighbours leads through a link that can be
cut or frozen. The protocol: "EPMD Protocol" in Erlang's distribution documentation.
"""

import asyncio
import struct
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

ALIVE2_REQ = 120
ALIVE2_RESP = 121
ALIVE2_X_RESP = 118
PORT_PLEASE2_REQ = 122
PORT2_RESP = 119
NAMES_REQ = 110

_REFUSED = 1
_NORMAL_NODE = 77
_TCP = 0
_FIRST_VERSION_WITH_LONG_CREATION = 6
_CREATION = 1


@dataclass(frozen=True, slots=True)
class Alive:
    """A node says that it is there: the name without host, and the port of its distribution listener."""

    name: str
    port: int
    highest: int
    lowest: int


def read_alive(request: bytes) -> Alive:
    """An ALIVE2_REQ, its length left out. Raises ValueError."""
    try:
        _, port, _, _, highest, lowest, length = struct.unpack_from(">BHBBHHH", request)
    except struct.error as error:
        raise ValueError("an ALIVE2_REQ that is too short") from error
    name = request[11 : 11 + length]
    if len(name) < length:
        raise ValueError("an ALIVE2_REQ that ends within the name")
    return Alive(name.decode(), port, highest, lowest)


def alive_answer(alive: Alive) -> bytes:
    """That it is registered. Each start of a node is a new one to its neighbours by what the nodes add themselves."""
    if alive.highest >= _FIRST_VERSION_WITH_LONG_CREATION:
        return struct.pack(">BBI", ALIVE2_X_RESP, 0, _CREATION)
    return struct.pack(">BBH", ALIVE2_RESP, 0, _CREATION)


def port_answer(name: str, port: int | None, highest: int = 6, lowest: int = 5) -> bytes:
    """Where a node listens; that it is unknown for None."""
    if port is None:
        return bytes([PORT2_RESP, _REFUSED])
    encoded = name.encode()
    head = struct.pack(">BBHBBHHH", PORT2_RESP, 0, port, _NORMAL_NODE, _TCP, highest, lowest, len(encoded))
    return head + encoded + struct.pack(">H", 0)


def names_answer(own_port: int, nodes: Mapping[str, int]) -> bytes:
    """Every node that is registered, as text."""
    lines = "".join(f"name {name} at port {port}\n" for name, port in nodes.items())
    return struct.pack(">I", own_port) + lines.encode()


class Epmd:
    """Answers one node, and the command line tools that ask for it. `neighbours` are ports by the nodes' names.

    `everybody` is shared by the stand-ins of a cluster: by it the neighbours answer a tool that asked one of them.
    """

    def __init__(self, port: int, neighbours: Mapping[str, int], everybody: dict[str, Alive]) -> None:
        self._port = port
        self._neighbours = neighbours
        self._everybody = everybody
        self._registered: dict[str, Alive] = {}

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Within the block it listens on the loopback."""
        listener = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        try:
            yield
        finally:
            listener.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, ValueError, asyncio.IncompleteReadError, asyncio.CancelledError):
            (length,) = struct.unpack(">H", await reader.readexactly(2))
            await self._answer(await reader.readexactly(length), reader, writer)
        writer.close()

    async def _answer(self, request: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        match request[0]:
            case n if n == ALIVE2_REQ:
                await self._keep(read_alive(request), reader, writer)
            case n if n == PORT_PLEASE2_REQ:
                name = request[1:].decode()
                writer.write(port_answer(name, self._port_of(name)))
            case n if n == NAMES_REQ:
                writer.write(names_answer(self._port, {one.name: one.port for one in self._registered.values()}))
        await writer.drain()

    def _port_of(self, name: str) -> int | None:
        if name in self._neighbours:
            return self._neighbours[name]
        known = self._everybody.get(name)
        return known.port if known else None

    async def _keep(self, alive: Alive, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A node is registered for as long as its connection stands."""
        self._registered[alive.name] = self._everybody[alive.name] = alive
        try:
            writer.write(alive_answer(alive))
            await writer.drain()
            await reader.read()
        finally:
            for known in (self._registered, self._everybody):
                if known.get(alive.name) is alive:
                    del known[alive.name]
