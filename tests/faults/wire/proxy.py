"""Passes messages on one by one, and does to each what a plan says."""

import asyncio
import itertools
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlsplit, urlunsplit

from order_service.private_servers.ports import LOOPBACK, reserved_ports
from tests.faults.wire.framing import Direction, Protocol
from tests.faults.wire.link import Address, Link


@dataclass(frozen=True, slots=True)
class Message:
    """One message, at the instant at which it would be handed on."""

    number: int
    """1, 2, 3 ... since `arm`, over all connections of a Wire and both directions."""
    connection: int
    protocol: Protocol
    direction: Direction
    name: str
    """PostgreSQL's name of the message, AMQP's of the method ("Basic.Publish") or frame, HTTP/2's of the frame."""
    raw: bytes


class Act(StrEnum):
    """What is done to a message."""

    PASS = "pass"
    STRIKE_BEFORE = "strike before"
    """`strike` is called, and this message is not delivered."""
    STRIKE_AFTER = "strike after"
    """This message is delivered, then `strike` is called."""
    CUT = "cut"
    """This message is dropped, and its connection ends both ways."""
    HANG = "hang"
    """This message is dropped, and nothing passes on its connection any more, not even its end."""


Plan = Callable[[Message], Act]


def pass_all(_: Message) -> Act:
    """The plan of a Wire that is not armed."""
    return Act.PASS


class Wire:
    """Stands between processes and their servers. Made by `between`; numbers the messages of all its connections."""

    def __init__(self, stack: ExitStack) -> None:
        self.struck = asyncio.Event()
        """Set as soon as the plan has done anything but pass a message on, until the next `arm`."""
        self.message: Message | None = None
        """The message to which that was done."""
        self._stack = stack
        self._plan: Plan = pass_all
        self._strike: Callable[[], object] = lambda: None
        self._numbers = itertools.count(1)
        self._passed = 0
        self._connections = itertools.count(1)
        self._listeners: list[socket.socket] = []
        self._links: set[Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._failures: list[BaseException] = []

    @classmethod
    @asynccontextmanager
    async def between(cls) -> AsyncIterator["Wire"]:
        """A Wire within the block. Raises FramingError at its end if anything came that is not of the protocol."""
        with ExitStack() as stack:
            wire = cls(stack)
            try:
                yield wire
            finally:
                await wire._close()
            if wire._failures:
                raise wire._failures[0]

    @property
    def passed(self) -> int:
        """How many messages have come since `arm`."""
        return self._passed

    async def through(self, url: str, protocol: Protocol) -> str:
        """The URL (or host:port) that leads through this Wire to the server of `url`."""
        parts = urlsplit(url if "//" in url else f"//{url}")
        target = Address(parts.hostname or LOOPBACK, parts.port or 0)
        (port,) = self._stack.enter_context(reserved_ports(1))
        self._listen(port, target, protocol)
        credentials = f"{parts.netloc.rpartition('@')[0]}@" if "@" in parts.netloc else ""
        led = urlunsplit(parts._replace(netloc=f"{credentials}{LOOPBACK}:{port}"))
        return led if "//" in url else led.removeprefix("//")

    def arm(self, plan: Plan, strike: Callable[[], object] = lambda: None) -> None:
        """From now on `plan` is asked about each message, numbered from 1. `strike` is called at the very instant: a
        message is passed on before or after it, never meanwhile. Connections that hung are ended."""
        self._end_hung()
        self._plan, self._strike = plan, strike
        self._numbers, self._passed = itertools.count(1), 0
        self.message = None
        self.struck.clear()

    def disarm(self) -> None:
        """Passes everything on; what hangs goes on hanging, and `struck` and `passed` stay as they are."""
        self._plan = pass_all

    def _listen(self, port: int, target: Address, protocol: Protocol) -> None:
        listener = self._stack.enter_context(socket.socket())
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setblocking(False)
        listener.bind((LOOPBACK, port))
        listener.listen(128)
        self._listeners.append(listener)
        asyncio.get_running_loop().add_reader(listener, self._accept, listener, target, protocol)

    def _accept(self, listener: socket.socket, target: Address, protocol: Protocol) -> None:
        """Takes connections at the instant at which they are seen, so that a strike knows each of the struck."""
        for accepted in _accepted(listener):
            # Many small messages one after the other: asyncio does it only for sockets that it has made.
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            link = Link(next(self._connections), protocol, target, self._hand_on)
            self._links.add(link)
            task = asyncio.create_task(link.run(accepted))
            self._tasks.add(task)
            task.add_done_callback(lambda task, link=link: self._ended(task, link))  # type: ignore[misc]

    def _ended(self, task: "asyncio.Task[None]", link: Link) -> None:
        self._tasks.discard(task)
        self._links.discard(link)
        if not task.cancelled() and (error := task.exception()):
            self._failures.append(error)

    def _hand_on(self, link: Link, direction: Direction, name: str, raw: bytes) -> None:
        """Without a step between: what the plan says is done before anything else can happen."""
        self._passed = next(self._numbers)
        message = Message(self._passed, link.number, link.protocol, direction, name, raw)
        act = self._plan(message)
        if act is Act.PASS:
            link.deliver(direction, raw)
            return
        self.message = message
        if act is Act.STRIKE_AFTER:
            link.deliver(direction, raw)
        link.flush()
        self._do(act, link)
        self.struck.set()

    def _do(self, act: Act, link: Link) -> None:
        if act is Act.CUT:
            link.end()
        elif act is Act.HANG:
            link.hang()
        else:
            self._strike()
            self._end_all()

    def _end_all(self) -> None:
        """What is on its way to or from the struck process is gone; its servers see it hang up."""
        for listener in self._listeners:
            for waiting in _accepted(listener):
                waiting.close()
        for link in tuple(self._links):
            link.end()

    def _end_hung(self) -> None:
        for link in tuple(self._links):
            if link.hangs:
                link.abort()

    async def _close(self) -> None:
        for listener in self._listeners:
            asyncio.get_running_loop().remove_reader(listener)
        tasks = tuple(self._tasks)
        for link in tuple(self._links):
            link.abort()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _accepted(listener: socket.socket) -> list[socket.socket]:
    """The connections that wait to be taken."""
    found = []
    with suppress(BlockingIOError, ConnectionAbortedError):
        while True:
            found.append(listener.accept()[0])
    return found
