"""Stands between the service and a server, and can be cut off as a network can."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit, urlunsplit

from order_service.private_servers.ports import reserved_ports


class TcpProxy:
    """Passes everything on to one address, until it is told to do otherwise. Made by `to`."""

    def __init__(self, host: str, port: int, own_port: int) -> None:
        self._target = (host, port)
        self._port = own_port
        self._listener: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._requests = asyncio.Event()
        self._answers = asyncio.Event()
        self.accepted = 0
        self.delay_seconds = 0.0
        """What passes is held up for so long, in both directions."""

    @classmethod
    @asynccontextmanager
    async def to(cls, url: str) -> AsyncIterator[tuple["TcpProxy", str]]:
        """A proxy to the server of a URL, and the URL that leads through it."""
        parts = urlsplit(url)
        credentials = f"{parts.netloc.rpartition('@')[0]}@" if "@" in parts.netloc else ""
        with reserved_ports(1) as (port,):
            proxy = cls(parts.hostname or "127.0.0.1", parts.port or 0, port)
            await proxy.restore()
            try:
                yield proxy, urlunsplit(parts._replace(netloc=f"{credentials}127.0.0.1:{port}"))
            finally:
                await proxy.cut()

    async def restore(self) -> None:
        """Lets connections through, from now on and on the same port."""
        self.thaw()
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", self._port)

    async def cut(self) -> None:
        """Ends every connection and refuses new ones."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        # One that was accepted just before is not served yet.
        await _a_few_turns()
        for writer in tuple(self._writers):
            writer.transport.abort()
        await _a_few_turns()

    async def cut_and_restore(self) -> None:
        """Ends every connection, once."""
        await self.cut()
        await self.restore()

    def freeze(self, requests: bool = True, answers: bool = True) -> None:
        """Keeps connections, takes new ones, and lets nothing through any more, in one direction or in both."""
        if requests:
            self._requests.clear()
        if answers:
            self._answers.clear()

    def thaw(self) -> None:
        """Lets everything through again, what has waited first."""
        self._requests.set()
        self._answers.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        # A task that is cancelled at the end of the test would make asyncio's own callback complain.
        with suppress(asyncio.CancelledError):
            await self._connect_through(reader, writer)
        self._writers.discard(writer)

    async def _connect_through(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            to_reader, to_writer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        self.accepted += 1
        self._writers.add(to_writer)
        await asyncio.gather(
            self._pass(reader, to_writer, self._requests), self._pass(to_reader, writer, self._answers)
        )
        self._writers.discard(to_writer)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, flowing: asyncio.Event) -> None:
        # uvloop raises RuntimeError where a connection was cut while something waited to pass.
        with suppress(OSError, RuntimeError):
            while data := await reader.read(65_536):
                if self.delay_seconds:
                    await asyncio.sleep(self.delay_seconds)
                await flowing.wait()
                writer.write(data)
                await writer.drain()
        with suppress(OSError):
            writer.close()


async def _a_few_turns() -> None:
    """Of the event loop: asyncio takes five from accepting a connection until it is served."""
    for _ in range(10):
        await asyncio.sleep(0)
