"""What lies ready before a round: events to send, orders that wait for a reply, replies. Made in bulk, not measured."""

import asyncio
import itertools
import json
from collections.abc import Iterable
from typing import Final
from uuid import UUID

import aio_pika
from aio_pika.abc import AbstractExchange
from pamqp.commands import Basic

from tests.bench.events import PLACEHOLDER, template
from tests.endurance.orders import make_pending
from tests.integration.platform import Platform

_WINDOW: Final = 256

_UNSENT: Final = """
    insert into order_service.outbox (order_id, version, bucket, event_id, type, occurred_at, payload, due_at)
    select o.order_id, 1, o.n %% 64, gen_random_uuid(), 'order.created', now(),
           replace(o.template, o.placeholder, o.order_id::text), now() - (o.count - o.n) * interval '1 millisecond'
    from (
        select gen_random_uuid() as order_id, n, given.*
        from (select %s::integer as count, %s::text as template, %s::text as placeholder) given,
             generate_series(1, given.count) n
    ) o
"""


async def make_events(platform: Platform, count: int) -> None:
    """Events of new orders in the outbox, as the service writes them."""
    await platform.query(_UNSENT, count, template(), str(PLACEHOLDER))
    await platform.query("vacuum analyze order_service.outbox")
    await platform.query("checkpoint")


async def make_waiting(platform: Platform, count: int) -> list[UUID]:
    """Orders that wait for their reply; their ids."""
    await make_pending(platform, count, "bench")
    await platform.query("checkpoint")
    return [order_id for (order_id,) in await platform.query("select order_id from order_service.orders")]


def success(order_id: UUID) -> bytes:
    """A StockUpdateResult as peers send it."""
    return json.dumps({"order_id": str(order_id), "success": True}).encode()


async def publish_all(exchange: AbstractExchange, bodies: Iterable[bytes], routing_key: str = "") -> None:
    """Publishes persistent messages; all are confirmed on return. Raises RuntimeError if one is not."""
    waiting = iter(bodies)
    while window := list(itertools.islice(waiting, _WINDOW)):
        messages = [aio_pika.Message(body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT) for body in window]
        answers = await asyncio.gather(*(exchange.publish(message, routing_key) for message in messages))
        if not all(isinstance(answer, Basic.Ack) for answer in answers):
            raise RuntimeError("the broker did not take all messages")
