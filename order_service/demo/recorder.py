"""A listener that was there before the first order and hears every event."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

import aio_pika
from aio_pika.abc import AbstractConnection, AbstractIncomingMessage
from pamqp.commands import Basic

from order_service.broker.connection import FAILURES
from order_service.demo.failure import DemoFailed

_KEPT_MILLISECONDS: Final = 600_000
"""The broker removes the queue of a run that was killed after so long."""

_TRY_SECONDS: Final = 0.1
_CONNECT_SECONDS: Final = 10.0
_UNACKNOWLEDGED: Final = 500


class Recorder:
    """What was heard of a run's orders: how often each message id, and the versions of each order as they came."""

    def __init__(self, run: str) -> None:
        self.ids: Counter[str] = Counter()
        self.versions: dict[str, list[int]] = {}
        self._users = f"demo-{run}-"

    async def hear(self, message: AbstractIncomingMessage) -> None:
        """Notes an event."""
        body = json.loads(message.body)
        if body["user_id"].startswith(self._users):
            message_id = message.message_id or ""
            if message_id not in self.ids:
                self.versions.setdefault(body["order_id"], []).append(body["version"])
            self.ids[message_id] += 1
        await message.ack()

    @property
    def out_of_order(self) -> list[str]:
        """The orders whose events did not come as 1, 2, 3 ..., repeats left out."""
        return [
            order_id for order_id, versions in self.versions.items() if versions != list(range(1, len(versions) + 1))
        ]


@asynccontextmanager
async def recording(rabbitmq_url: str, run: str) -> AsyncIterator[tuple[Recorder, AbstractConnection]]:
    """Records within the block, on a durable queue, which is removed at the end; and the connection that it is heard
    through. Raises DemoFailed."""
    connection = await _connect(rabbitmq_url)
    async with connection, connection.channel() as channel:
        recorder = Recorder(run)
        await channel.set_qos(prefetch_count=_UNACKNOWLEDGED)
        events = await channel.declare_exchange("order.events", "topic", durable=True)
        queue = await channel.declare_queue(
            f"order_service_demo_recorder_{run}", durable=True, arguments={"x-expires": _KEPT_MILLISECONDS}
        )
        await queue.bind(events, "#")
        consumer = await queue.consume(recorder.hear)
        try:
            yield recorder, connection
        finally:
            with suppress(*FAILURES):
                await queue.cancel(consumer)
                await queue.delete(if_unused=False, if_empty=False)


async def send_poison(connection: AbstractConnection, body: bytes) -> None:
    """Publishes bytes where the order service expects StockUpdateResults, again until there is a queue for them."""
    async with connection.channel() as channel:
        results = await channel.declare_exchange("stock_update_exchange", "fanout", durable=True)
        while True:
            if isinstance(await results.publish(aio_pika.Message(body, delivery_mode=2), ""), Basic.Ack):
                return
            await asyncio.sleep(_TRY_SECONDS)


async def _connect(urls: str) -> AbstractConnection:
    """To the first broker that lets us in; several URLs are parted by commas."""
    failure: Exception | None = None
    for url in urls.split(","):
        try:
            return await aio_pika.connect(url.strip(), timeout=_CONNECT_SECONDS)
        except (OSError, aio_pika.exceptions.AMQPError) as error:
            failure = error
    raise DemoFailed(f"RabbitMQ does not let the recorder in ({type(failure).__name__})") from failure
