"""Connects to the first broker of several that answers."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final

import aio_pika
from aio_pika.abc import AbstractConnection
from aiormq.channel import Channel as Channel
from yarl import URL

from order_service.broker.undecodable import tolerate_undecodable_properties
from order_service.domain.errors import BrokerUnavailable

Connection = AbstractConnection

CONNECT_SECONDS: Final = 5.0
_CLOSE_SECONDS: Final = 2.0
_HEARTBEAT_SECONDS: Final = 3
"""aiormq gives a peer up after three of these and a bit: a half-open connection is noticed within 15 s."""

FAILURES: Final = (Exception,)
"""What aio-pika raises when the broker is away: also a plain Exception, for what waited while a connection was lost."""


@asynccontextmanager
async def connected(urls: Sequence[str], role: str) -> AsyncIterator[Connection]:
    """A connection of its own, closed at the end. Tries the brokers in random order. Raises BrokerUnavailable."""
    connection = await _connect(urls, role)
    try:
        yield connection
    finally:
        with suppress(*FAILURES, asyncio.CancelledError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await connection.close()
        reraise_if_cancelled()


@asynccontextmanager
async def channel_of(connection: Connection) -> AsyncIterator[Channel]:
    """A channel with publisher confirms, as aiormq has it: the layer below aio-pika, without a task a message."""
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            channel = connection.channel(publisher_confirms=True, on_return_raises=False)
            await channel.initialize()
            underlay = await channel.get_underlay_channel()
            if not isinstance(underlay, Channel):
                raise TypeError("aio-pika gives a channel of another kind than aiormq's")
    except (*FAILURES, asyncio.CancelledError) as error:
        reraise_if_cancelled()
        raise BrokerUnavailable(told(error)) from error
    yield underlay


async def _connect(urls: Sequence[str], role: str) -> Connection:
    tolerate_undecodable_properties()
    failure: BaseException | None = None
    for url in random.sample(urls, len(urls)):
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                return await aio_pika.connect(
                    URL(url).update_query(heartbeat=str(_HEARTBEAT_SECONDS)),
                    client_properties={"connection_name": f"order-service {role}"},
                )
        except (*FAILURES, asyncio.CancelledError) as error:
            reraise_if_cancelled()
            failure = error
    raise BrokerUnavailable(told(failure)) from failure


def reraise_if_cancelled() -> None:
    """Raises CancelledError if this task is really being cancelled: aio-pika raises it for lost connections too."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def told(error: BaseException | None) -> str:
    """What went wrong in words, without addresses or passwords."""
    if isinstance(error, OSError) and error.strerror:
        return f"{type(error).__name__}: {error.strerror}"
    return type(error).__name__ if error is not None else "no broker is configured"
