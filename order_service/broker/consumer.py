"""Receives messages of one queue in batches, to be acknowledged together."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from aiormq.abc import DeliveredMessage
from aiormq.channel import Channel
from aiormq.exceptions import ChannelAccessRefused

from order_service.broker.connection import FAILURES, channel_of, connected, reraise_if_cancelled, told
from order_service.broker.existing_queue import QueueInUse
from order_service.broker.topology import kept_declared
from order_service.domain.errors import BrokerUnavailable
from order_service.loops import wait_for_event

_SETUP_SECONDS: Final = 10.0
_WATCH_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Incoming:
    """A message as it was received."""

    delivery_tag: int
    message_id: str
    headers: Mapping[str, Any]
    body: bytes
    redelivered: bool


class Consumer:
    """Takes what one queue delivers, up to its prefetch. Made by `consuming`."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._received: deque[Incoming] = deque()
        self._wanted = 1
        self._enough = asyncio.Event()
        self._lost = asyncio.Event()

    async def next_batch(self, limit: int, at_least: int = 1) -> list[Incoming]:
        """Waits for `at_least` messages and takes what else has come, at most `limit`. Raises BrokerUnavailable when no
        more can come: the connection is lost, or the queue was deleted. Cancelled, it has taken none."""
        self._wanted = at_least
        while len(self._received) < at_least:
            if self._lost.is_set() or self._channel.is_closed:
                raise BrokerUnavailable("the consumer was cancelled or its connection lost")
            self._enough.clear()
            await wait_for_event(self._enough, _WATCH_SECONDS)
        return [self._received.popleft() for _ in range(min(limit, len(self._received)))]

    async def acknowledge(self, batch: Sequence[Incoming]) -> None:
        """Tells the broker that a batch, and all before it, is dealt with. Raises BrokerUnavailable: then they come
        again."""
        try:
            await self._channel.basic_ack(max(message.delivery_tag for message in batch), multiple=True, wait=False)
        except (*FAILURES, asyncio.CancelledError) as error:
            reraise_if_cancelled()
            raise BrokerUnavailable(told(error)) from error

    async def receive(self, message: DeliveredMessage) -> None:
        """Called by aiormq for each delivery."""
        properties = message.header.properties
        self._received.append(
            Incoming(
                delivery_tag=message.delivery_tag or 0,
                message_id=properties.message_id or "",
                headers=properties.headers or {},
                body=message.body,
                redelivered=bool(message.redelivered),
            )
        )
        if len(self._received) >= self._wanted:
            self._enough.set()

    async def stop(self) -> int:
        """Ends the delivery; how many messages came that `next_batch` has not given: they go back to the queue when the
        connection closes. Every `acknowledge` before has reached the broker. Raises BrokerUnavailable."""
        try:
            async with asyncio.timeout(_SETUP_SECONDS):
                for tag in tuple(self._channel.consumers):
                    await self._channel.basic_cancel(tag)
        except (*FAILURES, asyncio.CancelledError) as error:
            reraise_if_cancelled()
            raise BrokerUnavailable(told(error)) from error
        return len(self._received)

    def cancelled(self, _: object) -> None:
        """Called by aiormq when the broker ends the consumer."""
        self._lost.set()


@asynccontextmanager
async def consuming(urls: Sequence[str], queue: str, prefetch: int, exclusive: bool = False) -> AsyncIterator[Consumer]:
    """A consumer of a queue on a connection of its own, after everything was declared. If `exclusive`, the only one:
    raises QueueInUse if there is another. Raises BrokerUnavailable."""
    async with (
        connected(urls, f"consumer of {queue}") as connection,
        channel_of(connection) as channel,
        kept_declared(channel),
    ):
        consumer = Consumer(channel)
        try:
            async with asyncio.timeout(_SETUP_SECONDS):
                await channel.basic_qos(prefetch_count=prefetch)
                channel.on_consumer_cancel_callbacks.add(consumer.cancelled)
                await channel.basic_consume(queue, consumer.receive, exclusive=exclusive)
        except (*FAILURES, asyncio.CancelledError) as error:
            reraise_if_cancelled()
            if exclusive and isinstance(error, ChannelAccessRefused):
                raise QueueInUse(f"the queue {queue!r} may not be consumed by us alone: {error}") from error
            raise BrokerUnavailable(told(error)) from error
        yield consumer
