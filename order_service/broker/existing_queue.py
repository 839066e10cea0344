"""Looks whether a queue is there, without making it."""

import asyncio
from typing import Final

from aiormq.exceptions import ChannelNotFoundEntity

from order_service.broker.connection import FAILURES, Channel, reraise_if_cancelled, told
from order_service.domain.errors import BrokerUnavailable, OrderServiceError

_ANSWER_SECONDS: Final = 10.0


class QueueMissing(OrderServiceError):
    """The broker has no queue of that name. Declare it, then try again."""


async def require_queue(channel: Channel, name: str) -> None:
    """Raises QueueMissing, and then the channel must not be used again; BrokerUnavailable."""
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            await channel.queue_declare(name, passive=True)
    except ChannelNotFoundEntity:
        raise QueueMissing(
            f"the broker has no queue {name!r}: declare it, bind it to order.events, try again"
        ) from None
    except (*FAILURES, asyncio.CancelledError) as error:
        reraise_if_cancelled()
        raise BrokerUnavailable(told(error)) from error
