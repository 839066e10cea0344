"""One connection through a Wire: a client on one side, its server on the other."""

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from tests.faults.wire.black_hole import release, swallow
from tests.faults.wire.framing import Direction, Protocol, framing_of

_FAREWELL_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens."""

    host: str
    port: int


HandOn = Callable[["Link", Direction, str, bytes], None]


class Link:
    """Reads messages from both sides, and lets `hand_on` decide about each."""

    def __init__(self, number: int, protocol: Protocol, target: Address, hand_on: HandOn) -> None:
        self.number = number
        self.protocol = protocol
        self.hangs = False
        self._target = target
        self._hand_on = hand_on
        self._framing = framing_of(protocol)
        self._over = False
        self._writers: dict[Direction, asyncio.StreamWriter] = {}
        self._waiting = {direction: bytearray() for direction in Direction}

    async def run(self, client: socket.socket) -> None:
        """Passes on until both sides have ended. Raises FramingError."""
        reader, writer = await asyncio.open_connection(sock=client)
        self._writers[Direction.TO_CLIENT] = writer
        try:
            server_reader, self._writers[Direction.TO_SERVER] = await self._connected()
        except OSError:
            self.abort()
            return
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pass(reader, Direction.TO_SERVER))
                both.create_task(self._pass(server_reader, Direction.TO_CLIENT))
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        finally:
            self.abort()

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """To the server, unless this link has ended before it began."""
        if self._is_over():
            raise ConnectionAbortedError
        reader, writer = await asyncio.open_connection(self._target.host, self._target.port)
        if self._is_over():
            writer.transport.abort()
            raise ConnectionAbortedError
        return reader, writer

    def _is_over(self) -> bool:
        return self._over

    def deliver(self, direction: Direction, raw: bytes) -> None:
        """Hands bytes to the side they are for, at the next `flush`: what came in one segment goes on in one."""
        self._waiting[direction] += raw

    def flush(self) -> None:
        """Nothing that was to be delivered waits any more."""
        for direction, waiting in self._waiting.items():
            if waiting:
                self._writers[direction].write(bytes(waiting))
                waiting.clear()

    def end(self) -> None:
        """Nothing passes any more, and both sides see the other hang up, after what was delivered before."""
        self._over = True
        for writer in self._writers.values():
            with suppress(OSError, RuntimeError):
                writer.write_eof()
        asyncio.get_running_loop().call_later(_FAREWELL_SECONDS, self.abort)

    def hang(self) -> None:
        """Nothing passes any more, and neither side is told: both see a peer that has vanished."""
        self._over = self.hangs = True
        for writer in self._writers.values():
            swallow(writer.get_extra_info("socket"))

    def abort(self) -> None:
        """Ends both sides at once; who hung is told of it."""
        self._over = True
        for writer in self._writers.values():
            if self.hangs and not writer.transport.is_closing():
                release(writer.get_extra_info("socket"))
            writer.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, direction: Direction) -> None:
        """Goes on reading when the link is over, so that nobody who writes to it sees more than it should."""
        with suppress(OSError):
            while data := await reader.read(65_536):
                self._take(direction, data)
                with suppress(OSError):
                    await self._writers[direction].drain()
        if not self._is_over():
            with suppress(OSError, RuntimeError):
                self._writers[direction].write_eof()

    def _take(self, direction: Direction, data: bytes) -> None:
        if self._is_over():
            return
        for name, raw in self._framing.feed(direction, data):
            self._hand_on(self, direction, name, raw)
            if self._is_over():
                return
        self.flush()
