"""Everything that faults are done to, and what an operator can do about it."""

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import aio_pika
from aiormq.abc import DeliveredMessage
from aiormq.exceptions import AMQPError

from tests.chaos.broker_cluster import BrokerCluster, url_of
from tests.chaos.fleet import Fleet
from tests.chaos.postgres_pair import PostgresPair
from tests.faults.cast import Cast
from tests.faults.history import Booking, Entry
from tests.integration.peers import PlainMessage

REPLY_QUEUE: Final = "order_service.stock_update_results"
REPLIES_EXCHANGE: Final = "stock_update_exchange"
_REPEAT_SECONDS: Final = 60.0
_AT_ONCE: Final = 50
_LOST = (AMQPError, OSError, TimeoutError, RuntimeError, asyncio.CancelledError)


@dataclass(slots=True)
class Rig:
    """The running platform. `books_at` notes how long the stock service's books were when."""

    pair: PostgresPair
    cluster: BrokerCluster
    fleet: Fleet
    cast: Cast
    chance: random.Random
    say: Callable[[str], None]
    books_at: list[tuple[float, int]] = field(default_factory=list)
    noticed: dict[str, list[float]] = field(default_factory=dict)
    """By kind of fault, how long it took a process to give up a connection that had gone silent."""

    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def background(self, work: Coroutine[Any, Any, None]) -> None:
        """Does something beside everything else."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def repeat_replies(self, seconds: float, shuffled: bool = False) -> None:
        """Sends the stock service's replies of the last while once more, until the broker has put each in a queue: what
        its operator does when replies were lost, and what no service may mind. Shuffled, they come to the byte as they
        did first; else under ids of their own, without which the broker could not say which of them it gives back.

        Then those that were sent meanwhile: until the last of the first was in a queue, they may have met none."""
        moment = time.monotonic() - seconds
        ends = time.monotonic() + _REPEAT_SECONDS
        books = self.cast.stock.books
        first = next((length for at, length in self.books_at if at >= moment), 0)
        for _ in range(2):
            first, lines = len(books), books[first:]
            answers = [_answer(line) for line in lines if line.entry in (Entry.TAKEN, Entry.REFUSED)]
            if shuffled:
                self.chance.shuffle(answers)
            while answers and time.monotonic() < ends:
                answers = await self._publish(answers, PlainMessage if shuffled else aio_pika.Message)
            if answers:
                self.say(f"{len(answers)} replies could not be repeated")

    async def until_published(self) -> None:
        """Returns once the broker takes messages again: an alarm is over some seconds after its cause."""
        task = asyncio.current_task()
        cancelling = task.cancelling() if task else 0
        while True:
            try:
                async with asyncio.timeout(3), self.operator_channel() as channel:
                    await channel.default_exchange.publish(aio_pika.Message(b""), "chaos.nobody", mandatory=True)
                    return
            except _LOST:
                if task and task.cancelling() > cancelling:
                    raise
                await asyncio.sleep(0.2)

    async def _publish(self, answers: list[bytes], kind: type[aio_pika.Message]) -> list[bytes]:
        """Those that were not taken."""
        task = asyncio.current_task()
        cancelling = task.cancelling() if task else 0
        try:
            async with self.operator_channel() as channel:
                exchange = await channel.get_exchange(REPLIES_EXCHANGE, ensure=False)
                while answers:
                    part = answers[:_AT_ONCE]
                    taken = await asyncio.gather(
                        *(_publish_one(exchange, kind(body, delivery_mode=2)) for body in part)
                    )
                    answers = [body for body, was in zip(part, taken, strict=True) if not was] + answers[_AT_ONCE:]
                    if not all(taken):
                        await asyncio.sleep(0.2)
        except _LOST:
            if task and task.cancelling() > cancelling:
                raise
            await asyncio.sleep(0.2)
        return answers

    @asynccontextmanager
    async def operator_channel(self) -> AsyncIterator[aio_pika.abc.AbstractChannel]:
        """A channel of somebody who looks after the broker. Raises what aio-pika raises."""
        node = self.chance.choice(self.cluster.nodes)
        async with (
            asyncio.timeout(30),
            await aio_pika.connect(url_of(node.node, node.node.port), timeout=5) as connection,
            connection.channel(publisher_confirms=True, on_return_raises=False) as channel,
        ):
            yield channel


async def _publish_one(exchange: aio_pika.abc.AbstractExchange, message: aio_pika.Message) -> bool:
    """Whether a queue has taken it."""
    confirmed: Any = await exchange.publish(message, "", mandatory=True, timeout=10)
    return not isinstance(confirmed, DeliveredMessage)


def _answer(line: Booking) -> bytes:
    """To the byte what the stock service sent."""
    if line.entry is Entry.TAKEN:
        return json.dumps({"order_id": line.order_id, "success": True}).encode()
    return json.dumps({"order_id": line.order_id, "success": False, "reason": "no"}).encode()
