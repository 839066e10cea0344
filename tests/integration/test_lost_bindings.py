"""What an operator unbinds by mistake comes back by itself."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aio_pika
from aiormq.abc import DeliveredMessage

from order_service.broker.connection import Channel, channel_of, connected
from order_service.broker.topology import EVENTS_EXCHANGE, FANOUTS, REPLY_QUEUES, kept_declared
from order_service.saga.order_saga import StepName
from tests.integration.platform import Platform
from tests.integration.tcp_proxy import TcpProxy
from tests.waiting import eventually

REPLIES = REPLY_QUEUES[StepName.STOCK]


async def test_a_queue_of_replies_that_was_unbound_is_bound_again_while_the_connection_stands(
    platform: Platform,
) -> None:
    async with platform.broker() as operator, declared_by_the_service(platform) as (channel, proxy):
        proxy.freeze()
        queue = await operator.get_queue(REPLIES.name, ensure=False)
        await queue.unbind(REPLIES.exchange, "")
        before = await reaches_a_queue(operator, REPLIES.exchange, "")
        proxy.thaw()
        await eventually(lambda: reaches_a_queue(operator, REPLIES.exchange, ""))
        still_open = not channel.is_closed

    assert not before
    assert still_open


async def test_an_exchange_of_the_platform_that_was_unbound_is_bound_again(platform: Platform) -> None:
    (fanout, event_type), *_ = FANOUTS.items()

    async with platform.broker() as operator, declared_by_the_service(platform) as (_, proxy):
        proxy.freeze()
        listening = await operator.declare_queue("listener", durable=True)
        await listening.bind(fanout, "")
        exchange = await operator.get_exchange(fanout, ensure=False)
        await exchange.unbind(EVENTS_EXCHANGE, event_type.value)
        before = await reaches_a_queue(operator, EVENTS_EXCHANGE, event_type.value)
        proxy.thaw()
        await eventually(lambda: reaches_a_queue(operator, EVENTS_EXCHANGE, event_type.value))

    assert not before


@asynccontextmanager
async def declared_by_the_service(platform: Platform) -> AsyncIterator[tuple[Channel, TcpProxy]]:
    """A channel on which everything is declared, and again each moment; and what can hold that up."""
    async with (
        TcpProxy.to(platform.rabbitmq_url) as (proxy, url),
        connected([url], "test") as connection,
        channel_of(connection) as channel,
        kept_declared(channel, seconds=0.2),
    ):
        yield channel, proxy


async def reaches_a_queue(channel: aio_pika.abc.AbstractChannel, name: str, routing_key: str) -> bool:
    """Whether a message to an exchange is put in a queue: the broker gives it back if not."""
    exchange = await channel.get_exchange(name, ensure=False)
    confirmed = await exchange.publish(aio_pika.Message(b"poison"), routing_key, mandatory=True)
    return not isinstance(confirmed, DeliveredMessage)
