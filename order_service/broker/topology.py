"""The exchanges, queues and bindings: the platform's as they are, and our own."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import structlog
from aiormq.channel import Channel
from aiormq.exceptions import AMQPError

from order_service.broker.connection import FAILURES, reraise_if_cancelled, told
from order_service.domain.errors import BrokerUnavailable
from order_service.domain.events import EventType
from order_service.saga.order_saga import STEPS, StepName

log: Final = structlog.get_logger()

EVENTS_EXCHANGE: Final = "order.events"
STOCK_UPDATE_EXCHANGE: Final = "stock_update_exchange"
PAYMENT_RESULT_EXCHANGE: Final = "payment_result_exchange"

OLD_STOCK_QUEUE: Final = "order_service_stock_update_queue"
"""Where the service before this one took StockUpdateResult from: a durable classic queue, never declared here."""

FANOUTS: Final = {
    "orders_exchange": EventType.ORDER_CREATED,
    "order_confirmed_exchange": EventType.ORDER_CONFIRMED,
}
"""The platform's exchanges that take our events, and which."""

_DECLARE_SECONDS: Final = 10.0
_AGAIN_SECONDS: Final = 10.0
"""So long replies may be dropped after an operator has unbound their queue."""

_DELIVERY_LIMIT: Final = 1_000_000_000
"""RabbitMQ 4 drops a message after 20 deliveries unless told otherwise; 3.10 does not know "unlimited" (-1). This
service parks what it cannot handle itself, so the broker must never do it."""


@dataclass(frozen=True, slots=True)
class ReplyQueue:
    """A queue of replies: the platform's exchange it hangs on, and the kind of message it carries."""

    name: str
    exchange: str
    source: str


REPLY_QUEUES: Final = {
    StepName.STOCK: ReplyQueue(
        "order_service.stock_update_results", STOCK_UPDATE_EXCHANGE, STEPS[StepName.STOCK].answered_by
    ),
    StepName.PAYMENT: ReplyQueue(
        "order_service.payment_results", PAYMENT_RESULT_EXCHANGE, STEPS[StepName.PAYMENT].answered_by
    ),
}


async def declare(channel: Channel) -> None:
    """Declares everything; what is there already stays as it is. Raises BrokerUnavailable, also if an exchange or a
    queue of the same name has another type or other arguments."""
    try:
        async with asyncio.timeout(_DECLARE_SECONDS):
            await _declare_events(channel)
            for queue in REPLY_QUEUES.values():
                await _declare_replies(channel, queue)
    except AMQPError as error:
        raise BrokerUnavailable(f"topology was refused: {error}") from error
    except (*FAILURES, asyncio.CancelledError) as error:
        reraise_if_cancelled()
        raise BrokerUnavailable(told(error)) from error


@asynccontextmanager
async def kept_declared(channel: Channel, seconds: float = _AGAIN_SECONDS) -> AsyncIterator[None]:
    """Declares everything, and within the block again every so often, give or take a quarter: a queue that an operator
    has unbound gets nothing, and nobody is told. Raises BrokerUnavailable if the first time fails; a later failure
    closes the channel, or does no harm."""
    await declare(channel)
    again = asyncio.create_task(_declare_again(channel, seconds))
    try:
        yield
    finally:
        again.cancel()
        await asyncio.gather(again, return_exceptions=True)


async def _declare_again(channel: Channel, seconds: float) -> None:
    while not channel.is_closed:
        await asyncio.sleep(random.uniform(0.75, 1.25) * seconds)
        try:
            await declare(channel)
        except BrokerUnavailable as error:
            if not channel.is_closed:
                log.warning("topology.not_declared", error=str(error))


async def _declare_events(channel: Channel) -> None:
    await channel.exchange_declare(EVENTS_EXCHANGE, exchange_type="topic", durable=True)
    for fanout, event_type in FANOUTS.items():
        await channel.exchange_declare(fanout, exchange_type="fanout", durable=True)
        await channel.exchange_bind(destination=fanout, source=EVENTS_EXCHANGE, routing_key=event_type.value)


async def _declare_replies(channel: Channel, queue: ReplyQueue) -> None:
    await channel.exchange_declare(queue.exchange, exchange_type="fanout", durable=True)
    await channel.queue_declare(
        queue.name, durable=True, arguments={"x-queue-type": "quorum", "x-delivery-limit": _DELIVERY_LIMIT}
    )
    await channel.queue_bind(queue.name, queue.exchange)
