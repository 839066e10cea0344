"""Poison among the replies: each message parked once, and those who wait for a healthy one hardly notice."""

import asyncio
import functools
import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import aio_pika
from aio_pika.abc import AbstractExchange, AbstractIncomingMessage

from tests.endurance.measured import Bound, Result, Tell, percentile
from tests.endurance.orders import make_pending
from tests.integration.peers import PlainMessage
from tests.integration.platform import Platform
from tests.waiting import eventually

MESSAGES = 100_000
POISON = 10_000
MOST_WORSE = 1.1
"""The p99 of a round with poison, as a multiple of that of its neighbour without."""

_PER_SECOND = 500.0
_ROUND = 900
"""Healthy replies of a round, of which there are three pairs at least; every second round has poison among them, one
for each nine."""

_TICK_SECONDS = 0.01


@dataclass(slots=True)
class Stopwatch:
    """From a healthy reply's publishing to the arrival of the event that it leads to."""

    published: dict[str, float] = field(default_factory=dict)
    arrived: dict[str, float] = field(default_factory=dict)

    async def on_confirmed(self, message: AbstractIncomingMessage) -> None:
        """Takes `order.confirmed`."""
        self.arrived.setdefault(str(message.headers["ce-subject"]), time.monotonic())

    def have_arrived(self, order_ids: Sequence[str]) -> bool:
        """Whether all of these are confirmed."""
        return all(order_id in self.arrived for order_id in order_ids)

    def p99(self, order_ids: Sequence[str]) -> float:
        """Seconds."""
        return percentile([self.arrived[one] - self.published[one] for one in order_ids], 0.99)


async def is_parked_once_and_holds_nobody_up(platform: Platform, scale: float, tell: Tell) -> Result:
    """Rounds without and with poison by turns, so that whatever else the machine does is shared by both."""
    healthy = min(_ROUND, round(MESSAGES * scale * 0.9 / 3) // 9 * 9)
    pairs = round(MESSAGES * scale * 0.9 / healthy)
    tell(0, "making orders that wait for their reply")
    await make_pending(platform, 2 * pairs * healthy, "ada")
    rows = await platform.query("select order_id::text from order_service.orders")
    order_ids = [order_id for (order_id,) in rows]
    worker = await platform.start_worker()
    watch = Stopwatch()
    ratios: list[float] = []
    seconds: tuple[list[float], list[float]] = [], []
    async with platform.broker() as channel:
        replies = await channel.declare_exchange("stock_update_exchange", "fanout", durable=True)
        queue = await channel.declare_queue("confirmed", durable=True)
        await queue.bind("order.events", "order.confirmed")
        await queue.consume(watch.on_confirmed, no_ack=True)
        for pair in range(pairs):
            for poisoned in (False, True) if pair % 2 else (True, False):
                tell((2 * pair + poisoned) / 2 / pairs, "with poison" if poisoned else "without poison")
                batch, order_ids = order_ids[:healthy], order_ids[healthy:]
                await _publish(replies, batch, pair if poisoned else None, watch)
                await eventually(functools.partial(watch.have_arrived, batch), 60)
                seconds[poisoned].append(watch.p99(batch))
            ratios.append(seconds[True][-1] / seconds[False][-1])
    await asyncio.to_thread(worker.stop)
    return _result(ratios, seconds, pairs * (healthy // 9), await _parked(platform))


def _result(
    ratios: list[float], seconds: tuple[list[float], list[float]], poison: int, parked: tuple[int, int, int]
) -> Result:
    figures = {
        "messages in rounds with poison": 10 * poison,
        "poison": poison,
        "healthy p99 without, ms": round(statistics.median(seconds[False]) * 1000, 1),
        "healthy p99 with, ms": round(statistics.median(seconds[True]) * 1000, 1),
    }
    rows, different, healthy = parked
    return Result(
        "poison",
        figures,
        [
            Bound(
                "healthy p99 with poison / without, median of pairs",
                round(statistics.median(ratios), 3),
                most=MOST_WORSE,
            ),
            Bound("poison messages parked", different, least=poison, most=poison),
            Bound("parked more than once", rows - different, least=0, most=0),
            Bound("orders with a healthy reply that were not confirmed", healthy, least=0, most=0),
        ],
    )


async def _publish(replies: AbstractExchange, order_ids: Sequence[str], poison: int | None, watch: Stopwatch) -> None:
    """So many a second, whatever becomes of them; every tenth message is poison, if there is any."""
    begun = time.monotonic()
    for number, order_id in enumerate(order_ids):
        late = begun + number / _PER_SECOND - time.monotonic()
        if late > _TICK_SECONDS:
            await asyncio.sleep(late)
        watch.published[order_id] = time.monotonic()
        await _send(replies, json.dumps({"order_id": order_id, "success": True}).encode())
        if poison is not None and number % 9 == 0:
            await _send(replies, _poison(f"{poison}-{number}", number))


async def _send(replies: AbstractExchange, body: bytes) -> None:
    message = PlainMessage(body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
    await replies.publish(message, "", mandatory=False)


def _poison(name: str, number: int) -> bytes:
    """Of several kinds, no two alike."""
    kinds = (
        f"\xff\xfe{name}".encode("latin-1"),
        f'{{"success": true, "name": "{name}"}}'.encode(),
        f'{{"order_id": "{name}", "success": true}}'.encode(),
        f'["{name}"]'.encode(),
        f'{{"order_id": "{name}'.encode(),
    )
    return kinds[number // 9 % len(kinds)]


async def _parked(platform: Platform) -> tuple[int, int, int]:
    """How many messages are parked, how many different ones, and how many orders wait in vain."""
    ((rows, different),) = await platform.query(
        "select count(*), count(distinct message_key) from order_service.parked_messages"
    )
    ((waiting,),) = await platform.query("select count(*) from order_service.orders where status <> 'CONFIRMED'")
    return rows, different, waiting
