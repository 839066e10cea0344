"""Plain aio-pika for a program of threads: an event loop in a thread of its own, which all others publish through."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import aio_pika
import uvloop
from aio_pika.abc import AbstractExchange
from pamqp.commands import Basic

from tests.bench.events import EVENTS_EXCHANGE

Publish = Callable[[str, bytes], None]
"""Publishes a body under a routing key; returns once the broker has confirmed it, raises if it does not."""

_BOUND_SECONDS = 30.0


@contextmanager
def publishing(url: str) -> Iterator[Publish]:
    """Persistent messages to the exchange of events, within the block."""
    loop = uvloop.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    connection = asyncio.run_coroutine_threadsafe(aio_pika.connect(url), loop).result(_BOUND_SECONDS)
    try:
        exchange = asyncio.run_coroutine_threadsafe(_exchange(connection), loop).result(_BOUND_SECONDS)

        def publish(routing_key: str, body: bytes) -> None:
            sent = _publish(exchange, routing_key, body)
            asyncio.run_coroutine_threadsafe(sent, loop).result(_BOUND_SECONDS)

        yield publish
    finally:
        asyncio.run_coroutine_threadsafe(connection.close(), loop).result(_BOUND_SECONDS)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _exchange(connection: aio_pika.abc.AbstractConnection) -> AbstractExchange:
    channel = await connection.channel()
    return await channel.declare_exchange(EVENTS_EXCHANGE, "topic", durable=True)


async def _publish(exchange: AbstractExchange, routing_key: str, body: bytes) -> None:
    message = aio_pika.Message(
        body,
        content_type="application/json",
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        type=routing_key,
    )
    answer = await exchange.publish(message, routing_key, mandatory=True)
    if not isinstance(answer, Basic.Ack):
        raise RuntimeError(f"the broker did not take a message: {answer!r}")
