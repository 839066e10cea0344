"""A stock service that has everything: it answers each OrderCreated with a success, at as little cost as Python allows.

`python -m tests.bench.stock_stand_in`, with RABBITMQ_URL; it says `{"port": 0}` once it listens, and serves until it is
ended. It shares the machine with what is measured, so it uses aiormq, the layer below aio-pika, answers all that has
come at once, and acknowledges them together once the broker has confirmed their answers.
"""

import asyncio
import json
import os
import signal
from typing import Any, Final

import aio_pika
import uvloop
from aiormq.abc import DeliveredMessage
from aiormq.channel import Channel
from pamqp.commands import Basic

QUEUE: Final = "product_service_order_created_queue"
_RESULTS: Final = "stock_update_exchange"
_PREFETCH: Final = 256
_PERSISTENT: Final = Basic.Properties(content_type="application/json", delivery_mode=2)


class StockStandIn:
    """Answers what one channel delivers."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._asked: asyncio.Queue[DeliveredMessage] = asyncio.Queue()

    async def listen(self) -> None:
        """Declares what it needs as the contract has it, and starts to listen."""
        channel = self._channel
        await channel.basic_qos(prefetch_count=_PREFETCH)
        await channel.exchange_declare("orders_exchange", exchange_type="fanout", durable=True)
        await channel.exchange_declare(_RESULTS, exchange_type="fanout", durable=True)
        await channel.queue_declare(QUEUE, durable=True)
        await channel.queue_bind(QUEUE, "orders_exchange")
        await channel.basic_consume(QUEUE, self._asked.put)

    async def answer(self) -> None:
        """Answers for ever. Raises RuntimeError if the broker does not take an answer."""
        while True:
            batch = [await self._asked.get()]
            batch += [self._asked.get_nowait() for _ in range(self._asked.qsize())]
            confirmed = await asyncio.gather(*(self._publish(answer_to(one.body)) for one in batch))
            if not all(isinstance(one, Basic.Ack) for one in confirmed):
                raise RuntimeError("the broker did not take an answer")
            await self._channel.basic_ack(batch[-1].delivery_tag or 0, multiple=True, wait=False)

    async def _publish(self, body: bytes) -> Any:
        return await self._channel.basic_publish(
            body, exchange=_RESULTS, routing_key="", properties=_PERSISTENT, wait=False
        )


def answer_to(order: bytes) -> bytes:
    """The StockUpdateResult for an OrderCreated."""
    return json.dumps({"order_id": json.loads(order)["order_id"], "success": True}).encode()


async def serve() -> None:
    """Until SIGTERM."""
    async with await aio_pika.connect(os.environ["RABBITMQ_URL"]) as connection, connection.channel() as channel:
        underlay = await channel.get_underlay_channel()
        if not isinstance(underlay, Channel):
            raise TypeError(f"aio-pika is built upon {type(underlay).__name__}, not on aiormq")
        stand_in = StockStandIn(underlay)
        await stand_in.listen()
        print(json.dumps({"port": 0}), flush=True)  # noqa: T201
        answering = asyncio.create_task(stand_in.answer())
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, answering.cancel)
        await asyncio.wait({answering})
        if not answering.cancelled():
            answering.result()


if __name__ == "__main__":
    uvloop.run(serve())
