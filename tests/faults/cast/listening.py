"""Listens to queues of one's own for as long as it takes, whatever happens to the broker."""

import asyncio
import itertools
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage
from yarl import URL

from tests.integration.peers import PlainMessage
from tests.waiting import eventually

_CONNECT_SECONDS = 5.0
_PUBLISH_SECONDS = 5.0
_CLOSE_SECONDS = 2.0
_PAUSE_SECONDS = 0.1
_HEARTBEAT_SECONDS = 3
_MARKER = "cast.marker"
_QUORUM: Any = {"x-queue-type": "quorum", "x-delivery-limit": 1_000_000_000}


@dataclass(frozen=True, slots=True)
class Source:
    """A queue of one's own and what it is bound to."""

    queue: str
    exchange: str
    exchange_type: str
    routing_key: str


class Listener:
    """Handles what its queues get: `handle` writes it down, `answers` are published, then it is acknowledged. If any
    of that fails, the connection is given up, and on the next one the message comes again."""

    sources: ClassVar[tuple[Source, ...]]
    replies_exchange: ClassVar[str] = ""
    in_order: ClassVar[bool] = False
    """Whether order matters: while a cluster has not noticed that a consumer is gone, what it was given comes again
    only after newer messages, unless the consumer that follows it is not active until then."""

    def __init__(self, urls: Sequence[str], quorum: bool, prefetch: int) -> None:
        self._urls = urls
        self._quorum = quorum
        self._prefetch = prefetch
        self._lost = asyncio.Event()
        self._listening = asyncio.Event()
        self._channel: AbstractChannel | None = None
        self._replies: aio_pika.abc.AbstractExchange | None = None
        self._markers: set[str] = set()
        self._handling = 0
        self.connections = 0
        """How often it has connected."""

    @classmethod
    @asynccontextmanager
    async def at(cls, *urls: str, quorum: bool = False, prefetch: int = 100) -> AsyncIterator[Self]:
        """Listens within the block, once it has connected for the first time."""
        listener = cls(urls, quorum, prefetch)
        task = asyncio.create_task(listener._run())
        try:
            async with asyncio.timeout(60):
                await listener._listening.wait()
            yield listener
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    def handle(self, source: Source, message: AbstractIncomingMessage) -> Sequence[dict[str, Any]]:
        """Writes a message down; the answers to it. Called in the order of arrival of each queue."""
        raise NotImplementedError

    async def caught_up(self, seconds: float = 20.0) -> None:
        """Returns when all that its queues held before has been handled."""
        marker = str(uuid.uuid4())
        await eventually(lambda: self._marked(marker), seconds)
        wanted = {f"{marker} {source.queue}" for source in self.sources}
        await eventually(lambda: wanted <= self._markers and not self._handling, seconds)

    async def reply(self, answer: dict[str, Any]) -> None:
        """Publishes an answer out of turn, with a confirm. Raises what aio-pika raises if the broker is away."""
        await self._publish([answer], {})

    async def send(self, body: bytes) -> None:
        """Publishes bytes as they are where answers go, for as long as it takes until the broker has confirmed them."""

        async def sent() -> bool:
            with suppress(Exception):
                await self._publish_body(body, {})
                return True
            return False

        await eventually(sent)

    async def _marked(self, marker: str) -> bool:
        """Puts a marker behind all that is in each queue. Twice does no harm."""
        if self._channel is None:
            return False
        try:
            async with asyncio.timeout(_PUBLISH_SECONDS):
                for source in self.sources:
                    name = f"{marker} {source.queue}"
                    message = aio_pika.Message(b"", message_id=name, type=_MARKER, delivery_mode=2)
                    await self._channel.default_exchange.publish(message, source.queue)
        except (Exception, asyncio.CancelledError) as error:
            _reraise_if_cancelled(error)
            return False
        return True

    async def _run(self) -> None:
        for url in itertools.cycle(self._urls):
            connection = None
            try:
                async with asyncio.timeout(_CONNECT_SECONDS):
                    connection = await aio_pika.connect(
                        URL(url).update_query(heartbeat=str(_HEARTBEAT_SECONDS)),
                        client_properties={"connection_name": f"cast {type(self).__name__}"},
                    )
                    await self._listen(connection)
                await self._lost.wait()
            except (Exception, asyncio.CancelledError) as error:
                _reraise_if_cancelled(error)
            finally:
                self._channel = self._replies = None
                if connection is not None:
                    await _close(connection)
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _listen(self, connection: aio_pika.abc.AbstractConnection) -> None:
        self._lost = lost = asyncio.Event()
        channel = await connection.channel(publisher_confirms=True, on_return_raises=False)
        publishing = await connection.channel(publisher_confirms=True, on_return_raises=False)
        for closable in (connection, channel, publishing):
            closable.close_callbacks.add(lambda *_: lost.set())
        underlay = await channel.get_underlay_channel()
        underlay.on_consumer_cancel_callbacks.add(lambda *_: lost.set())
        await channel.set_qos(prefetch_count=self._prefetch)
        if self.replies_exchange:
            self._replies = await publishing.declare_exchange(self.replies_exchange, "fanout", durable=True)
        self._channel = publishing
        for source in self.sources:
            exchange = await channel.declare_exchange(source.exchange, source.exchange_type, durable=True)
            arguments = _QUORUM | ({"x-single-active-consumer": True} if self.in_order else {})
            arguments = arguments if self._quorum else None
            queue = await channel.declare_queue(source.queue, durable=True, arguments=arguments)
            await queue.bind(exchange, source.routing_key)
            await queue.consume(self._callback(source, lost))
        self.connections += 1
        self._listening.set()

    def _callback(self, source: Source, lost: asyncio.Event) -> Callable[[AbstractIncomingMessage], Awaitable[None]]:
        async def on_message(message: AbstractIncomingMessage) -> None:
            self._handling += 1
            try:
                if message.type == _MARKER:
                    self._markers.add(message.message_id or "")
                else:
                    await self._publish(self.handle(source, message), _trace_headers(message))
                await message.ack()
            except (Exception, asyncio.CancelledError) as error:
                _reraise_if_cancelled(error)
                lost.set()
            finally:
                self._handling -= 1

        return on_message

    async def _publish(self, answers: Sequence[dict[str, Any]], headers: dict[str, Any]) -> None:
        for answer in answers:
            await self._publish_body(json.dumps(answer).encode(), headers)

    async def _publish_body(self, body: bytes, headers: dict[str, Any]) -> None:
        if self._replies is None:
            raise ConnectionError("not connected")
        async with asyncio.timeout(_PUBLISH_SECONDS):
            await self._replies.publish(PlainMessage(body, delivery_mode=2, headers=headers), "", mandatory=False)


async def _close(connection: aio_pika.abc.AbstractConnection) -> None:
    task = asyncio.current_task()
    cancelling = task.cancelling() if task else 0
    try:
        async with asyncio.timeout(_CLOSE_SECONDS):
            await connection.close()
    except (Exception, asyncio.CancelledError):
        if task and task.cancelling() > cancelling:
            raise


def _reraise_if_cancelled(error: BaseException) -> None:
    """aio-pika raises CancelledError for lost connections too."""
    task = asyncio.current_task()
    if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
        raise error


def _trace_headers(message: AbstractIncomingMessage) -> dict[str, Any]:
    """Peers pass the trace context on as text."""
    return {name: str(message.headers[name]) for name in ("traceparent", "baggage") if name in message.headers}
