"""The services on the other side of RabbitMQ, written from the contract alone."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage
from pamqp.commands import Basic

from tests.integration.load import Sent
from tests.integration.platform import Platform

Body = dict[str, Any]
Answer = Callable[[Body], Body | None]


@dataclass(frozen=True, slots=True)
class Source:
    """Where a peer gets a kind of message from: a queue of its own, bound to an exchange."""

    queue: str
    exchange: str
    exchange_type: str
    routing_key: str = ""


class PlainMessage(aio_pika.Message):
    """A message with the properties it was given: peers set no message id, where aio-pika would make one up."""

    @property
    def properties(self) -> Basic.Properties:
        given: Any = super().properties
        return given if self.message_id else _WithoutId(**dict(given))


class _WithoutId(Basic.Properties):
    def marshal(self) -> bytes:
        self.message_id = None
        return super().marshal()


class Peer:
    """Takes what the service asks for, and answers with what `answer` makes of it, or not at all for None."""

    asks: ClassVar[Source]
    undoings: ClassVar[Source]
    replies_exchange: ClassVar[str]

    def __init__(self, channel: AbstractChannel, answer: Answer) -> None:
        self._channel = channel
        self._answer = answer
        self.messages: list[AbstractIncomingMessage] = []
        self.undone: list[Body] = []

    @classmethod
    @asynccontextmanager
    async def running(cls, platform: Platform, answer: Answer) -> AsyncIterator[Self]:
        async with platform.broker() as channel:
            peer = cls(channel, answer)
            peer._replies = await channel.declare_exchange(cls.replies_exchange, "fanout", durable=True)
            await (await bound_queue(channel, cls.asks)).consume(peer._on_asked)
            await (await bound_queue(channel, cls.undoings)).consume(peer._on_undoing)
            yield peer

    _replies: aio_pika.abc.AbstractExchange

    @property
    def asked(self) -> list[Body]:
        """What it was asked for, as it came."""
        return [json.loads(message.body) for message in self.messages]

    def undone_of(self, order_id: str) -> list[Body]:
        """What it was asked to undo for one order."""
        return [body for body in self.undone if body["order_id"] == order_id]

    async def _on_asked(self, message: AbstractIncomingMessage) -> None:
        self.messages.append(message)
        answer = self._answer(json.loads(message.body))
        if answer is not None:
            await self.reply(answer, **_trace_headers(message))
        await message.ack()

    async def _on_undoing(self, message: AbstractIncomingMessage) -> None:
        self.undone.append(json.loads(message.body))
        await message.ack()

    async def reply(self, answer: Body, **headers: Any) -> None:
        """Publishes a result."""
        await self.send(json.dumps(answer).encode(), headers=headers)

    async def send(self, body: bytes, **properties: Any) -> None:
        """Publishes bytes as they are."""
        await self._replies.publish(PlainMessage(body, **properties), "", mandatory=False)


class StockService(Peer):
    """The product service: it takes OrderCreated and answers StockUpdateResult."""

    asks = Source("product_service_order_created_queue", "orders_exchange", "fanout")
    undoings = Source("product_service_release_queue", "order.events", "topic", "order.stock_release_requested")
    replies_exchange = "stock_update_exchange"


class PaymentService(Peer):
    """It takes order.payment_requested and answers PaymentResult."""

    asks = Source("payment_requests", "order.events", "topic", "order.payment_requested")
    undoings = Source("payment_refunds", "order.events", "topic", "order.payment_refund_requested")
    replies_exchange = "payment_result_exchange"


async def bound_queue(channel: AbstractChannel, source: Source) -> aio_pika.abc.AbstractQueue:
    """A durable classic queue without arguments, bound, as peers declare theirs."""
    exchange = await channel.declare_exchange(source.exchange, source.exchange_type, durable=True)
    queue = await channel.declare_queue(source.queue, durable=True)
    await queue.bind(exchange, source.routing_key)
    return queue


def _trace_headers(message: AbstractIncomingMessage) -> dict[str, str]:
    """Peers pass the trace context on as text."""
    return {name: str(message.headers[name]) for name in ("traceparent", "baggage") if name in message.headers}


def success(asked: Body) -> Body:
    """Answers every order with a success."""
    return {"order_id": asked["order_id"], "success": True}


def refusal(asked: Body) -> Body:
    """Answers every order with a failure."""
    return {"order_id": asked["order_id"], "success": False, "reason": "none left"}


def no_answer(_: Body) -> None:
    """Answers nothing."""


class Recorder:
    """Takes every event of `order.events`."""

    def __init__(self) -> None:
        self.messages: list[AbstractIncomingMessage] = []

    @classmethod
    @asynccontextmanager
    async def running(cls, platform: Platform) -> AsyncIterator["Recorder"]:
        recorder = cls()
        async with platform.broker() as channel:
            queue = await bound_queue(channel, Source("recorder", "order.events", "topic", "#"))
            await queue.consume(recorder._on_event)
            yield recorder

    async def _on_event(self, message: AbstractIncomingMessage) -> None:
        self.messages.append(message)
        await message.ack()

    def of_order(self, order_id: str) -> list[Body]:
        """The bodies of one order's events, as they came, each with its `type` and `message_id`."""
        bodies = [
            json.loads(message.body) | {"type": message.type, "message_id": message.message_id}
            for message in self.messages
        ]
        return [body for body in bodies if body["order_id"] == order_id]

    def sent(self) -> Sent:
        """All that came so far."""
        return Sent(tuple(self.messages))

    def types_of(self, order_id: str) -> list[str]:
        """The types of one order's events, as they came."""
        return [event["type"] for event in self.of_order(order_id)]
