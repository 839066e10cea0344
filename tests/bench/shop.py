"""What a saga passes through, and who hears of its end."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiormq.abc import DeliveredMessage

from tests.bench.api_processes import Api, Site, api
from tests.bench.processes import started
from tests.integration.platform import Platform, Running
from tests.waiting import eventually


@dataclass(frozen=True, slots=True)
class Shop:
    """All processes that a saga passes through, and where to place orders."""

    site: Site
    api: Api
    worker: Running
    stock_pid: int

    @property
    def watched(self) -> dict[str, int]:
        """The processes, servers included."""
        own = {"api": self.api.pid, "worker": self.worker.process.pid, "stock": self.stock_pid}
        return {**own, **self.site.watched}

    @classmethod
    @asynccontextmanager
    async def open(cls, site: Site) -> AsyncIterator["Shop"]:
        """An api and a worker, as users start them, and a stand-in for the stock service. They run for this alone: even
        idle they would take from what the other side has."""
        worker = await site.platform.start_worker()
        async with _stock_service(site.platform) as stock_pid, api(site.platform) as serving:
            yield cls(site, serving, worker, stock_pid)
        await asyncio.to_thread(worker.stop)


@asynccontextmanager
async def _stock_service(platform: Platform) -> AsyncIterator[int]:
    """A stand-in for the stock service that listens; its process id."""
    log = platform.folder / "stock.log"
    command = [sys.executable, "-m", "tests.bench.stock_stand_in"]
    with started("the stock service", command, log, RABBITMQ_URL=platform.rabbitmq_url) as stock:

        def listens() -> bool:
            if stock.has_ended():
                raise AssertionError(str(stock.failure("ended")))
            return bool(log.read_text())

        await eventually(listens, 30)
        yield stock.process.pid


class Recorder:
    """Counts the orders that the broker says are confirmed, and knows when the first and the last one came."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Begins anew."""
        self.count = 0
        self.first = self.last = 0.0

    async def hear(self, _: DeliveredMessage) -> None:
        """Called by aiormq for each order.confirmed."""
        self.last = time.monotonic()
        self.first = self.first or self.last
        self.count += 1

    @classmethod
    @asynccontextmanager
    async def running(cls, platform: Platform) -> AsyncIterator["Recorder"]:
        """Hears all within the block."""
        recorder = cls()
        async with platform.broker() as channel:
            events = await channel.declare_exchange("order.events", "topic", durable=True)
            queue = await channel.declare_queue("bench.confirmed", durable=True)
            await queue.bind(events, "order.confirmed")
            # The layer below aio-pika, without acks: it shares the machine with what it measures.
            await (await channel.get_underlay_channel()).basic_consume(queue.name, recorder.hear, no_ack=True)
            yield recorder
