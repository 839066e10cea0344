"""A broker's client and the peers, on an event loop of their own, for those who wait for each step."""

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import Any, TypeVar

import aio_pika
from aio_pika.abc import AbstractConnection

from tests.fuzz.properties import Octets
from tests.integration.peers import Body, PaymentService, Peer, StockService, success
from tests.integration.platform import Platform

T = TypeVar("T")

UNANSWERED = "victim"
"""The peers answer every order but those for this product: these are left to the garbage."""

_SECONDS = 30.0


class Wire:
    """Publishes what nobody should, and waits until the broker has it. Made by `open`."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._loop = asyncio.new_event_loop()
        self._connection: AbstractConnection | None = None
        self._channel: Any = None
        self.peers: list[Peer] = []
        self.answered = 0
        self.taken = 0
        self.refused = 0

    @classmethod
    @contextmanager
    def open(cls, platform: Platform) -> Iterator["Wire"]:
        """With both peers at work."""
        wire = cls(platform.rabbitmq_url)
        thread = threading.Thread(target=wire._loop.run_forever, name="wire")
        thread.start()
        stack = AsyncExitStack()
        try:
            for peer in (StockService, PaymentService):
                wire.peers.append(wire._wait(stack.enter_async_context(peer.running(platform, wire._answer))))
            yield wire
        finally:
            wire._wait(wire._close())
            wire._wait(stack.aclose())
            wire._loop.call_soon_threadsafe(wire._loop.stop)
            thread.join()
            wire._loop.close()

    def publish(self, body: bytes, properties: Octets, exchange: str, routing_key: str = "") -> bool:
        """Whether the broker took it; it refuses some properties itself, and ends the connection over them."""
        taken = self._wait(self._publish(body, properties, exchange, routing_key))
        self.taken += taken
        self.refused += not taken
        return taken

    def _answer(self, asked: Body) -> Body | None:
        if any(item["product_id"] == UNANSWERED for item in asked.get("items", ())):
            return None
        self.answered += 1
        return success(asked)

    async def _publish(self, body: bytes, properties: Octets, exchange: str, routing_key: str) -> bool:
        try:
            channel = await self._open_channel()
            async with asyncio.timeout(10):
                await channel.basic_publish(
                    body, exchange=exchange, routing_key=routing_key, properties=properties.marshalled()
                )
        except (Exception, asyncio.CancelledError):
            await self._close()
            return False
        return True

    async def _open_channel(self) -> Any:
        if self._channel is None or self._channel.is_closed:
            await self._close()
            self._connection = await aio_pika.connect(self._url)
            self._channel = await (await self._connection.channel()).get_underlay_channel()
        return self._channel

    async def _close(self) -> None:
        connection, self._connection, self._channel = self._connection, None, None
        if connection is not None:
            try:
                async with asyncio.timeout(5):
                    await connection.close()
            except (Exception, asyncio.CancelledError):
                return

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_SECONDS)
