"""What is done to queues that others declared: looked at, unbound, deleted. None is ever made, or declared anew with
arguments of our own, which the broker would refuse (406)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from aiormq.exceptions import ChannelNotFoundEntity, ChannelPreconditionFailed

from order_service.broker.connection import FAILURES, Channel, Connection, channel_of, reraise_if_cancelled, told
from order_service.domain.errors import BrokerUnavailable, OrderServiceError

_ANSWER_SECONDS: Final = 10.0


class QueueMissing(OrderServiceError):
    """The broker has no queue of that name. Declare it, then try again."""


class QueueInUse(OrderServiceError):
    """Someone consumes the queue, or it is not empty: what was asked for would lose messages."""


@dataclass(frozen=True, slots=True)
class ExistingQueue:
    """A queue that is there: the messages that wait in it (those delivered and not acknowledged left out), and its
    consumers."""

    name: str
    messages: int
    consumers: int


async def require_queue(channel: Channel, name: str) -> None:
    """Raises QueueMissing, and then the channel must not be used again; BrokerUnavailable."""
    if await _found(channel, name) is None:
        raise QueueMissing(f"the broker has no queue {name!r}: declare it, bind it to order.events, try again")


async def look_at(connection: Connection, name: str) -> ExistingQueue | None:
    """The queue, or None if there is none. Raises BrokerUnavailable."""
    async with channel_of(connection) as channel:
        return await _found(channel, name)


async def unbind(connection: Connection, queue: str, exchange: str) -> None:
    """From now on the exchange passes nothing on to the queue. Also if it did not before. Raises BrokerUnavailable."""
    async with channel_of(connection) as channel, answered():
        await channel.queue_unbind(queue, exchange)


async def delete_if_idle(connection: Connection, name: str) -> None:
    """Deletes a queue that nobody consumes and that holds nothing; else raises QueueInUse. Raises BrokerUnavailable."""
    async with channel_of(connection) as channel:
        try:
            async with answered():
                await channel.queue_delete(name, if_unused=True, if_empty=True)
        except BrokerUnavailable as error:
            if isinstance(error.__cause__, ChannelPreconditionFailed):
                raise QueueInUse(f"the queue {name!r} is not empty, or has consumers: it was not deleted") from error
            raise


async def _found(channel: Channel, name: str) -> ExistingQueue | None:
    try:
        async with answered():
            found = await channel.queue_declare(name, passive=True)
    except BrokerUnavailable as error:
        if isinstance(error.__cause__, ChannelNotFoundEntity):
            return None
        raise
    return ExistingQueue(name, found.message_count or 0, found.consumer_count or 0)


@asynccontextmanager
async def answered() -> AsyncIterator[None]:
    """Raises BrokerUnavailable for whatever goes wrong in the block, the broker's own answer as its cause."""
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            yield
    except (*FAILURES, asyncio.CancelledError) as error:
        reraise_if_cancelled()
        raise BrokerUnavailable(told(error)) from error
