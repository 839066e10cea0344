"""The demo's stock service, held to the contract by a peer on the other side of RabbitMQ."""

import asyncio
import json
import signal
import sys
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aio_pika
import pytest

from tests.integration.commands import ended
from tests.integration.peers import Source, bound_queue
from tests.integration.platform import Platform
from tests.integration.tcp_proxy import TcpProxy
from tests.waiting import eventually

LATE_SECONDS = 1
RESULTS = Source("results", "stock_update_exchange", "fanout")


@asynccontextmanager
async def stock_service(platform: Platform, **changes: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """The process, once it listens; what it logs can be read from its output."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "order_service.demo.stock_service",
        env=platform.environment(STOCK_LATE_AFTER=f"{LATE_SECONDS}s", **changes),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout
    while b"stock.listening" not in (line := await process.stdout.readline()):
        assert line, await process.communicate()
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


class Orders:
    """What an order service would ask, and the answers it would get."""

    def __init__(self, channel: aio_pika.abc.AbstractChannel) -> None:
        self._channel = channel
        self.answers: list[dict[str, Any]] = []
        self.asked_at: dict[str, float] = {}
        self.answered_at: dict[str, float] = {}

    @classmethod
    @asynccontextmanager
    async def on(cls, platform: Platform) -> AsyncIterator["Orders"]:
        async with platform.broker() as channel:
            orders = cls(channel)
            await (await bound_queue(channel, RESULTS)).consume(orders._on_answer)
            yield orders

    async def _on_answer(self, message: aio_pika.abc.AbstractIncomingMessage) -> None:
        answer = json.loads(message.body) | {"traceparent": message.headers.get("traceparent")}
        self.answers.append(answer)
        self.answered_at[answer["order_id"]] = time.monotonic()
        await message.ack()

    async def create(self, product_id: str) -> str:
        """Publishes an OrderCreated; returns the order's id."""
        order_id = str(uuid.uuid4())
        items = [{"product_id": product_id, "quantity": 2, "price": 19.99}]
        body = json.dumps({"order_id": order_id, "user_id": "ada", "total_price": 39.98, "items": items}).encode()
        exchange = await self._channel.get_exchange("orders_exchange", ensure=False)
        self.asked_at[order_id] = time.monotonic()
        await exchange.publish(aio_pika.Message(body, headers={"traceparent": f"of {order_id}"}), "")
        return order_id

    def to(self, order_id: str) -> list[bool]:
        """How an order was answered."""
        return [answer["success"] for answer in self.answers if answer["order_id"] == order_id]


async def test_products_are_answered_by_their_names(platform: Platform) -> None:
    async with stock_service(platform), Orders.on(platform) as orders:
        never = await orders.create("never-answered-tea")
        late = await orders.create("answered-late-tea")
        twice = await orders.create("answered-twice-tea")
        refused = await orders.create("out-of-stock-tea")
        taken = await orders.create("tea")
        await eventually(lambda: orders.to(taken))
        await eventually(lambda: orders.to(late))

    assert (orders.to(never), orders.to(late)) == ([], [True])
    assert orders.answered_at[late] - orders.asked_at[late] > LATE_SECONDS
    assert (orders.to(twice), orders.to(refused), orders.to(taken)) == ([True, True], [False], [True])
    assert all(answer["traceparent"] == f"of {answer['order_id']}" for answer in orders.answers)


async def test_it_connects_again_by_itself(platform: Platform) -> None:
    async with (
        TcpProxy.to(platform.rabbitmq_url) as (proxy, url),
        stock_service(platform, RABBITMQ_URL=url),
        Orders.on(platform) as orders,
    ):
        before = await orders.create("tea")
        await eventually(lambda: orders.to(before))
        await proxy.cut_and_restore()
        after = await orders.create("tea")
        await eventually(lambda: orders.to(after))

    assert orders.to(after) == [True]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_ends_cleanly_when_asked_to(platform: Platform, number: signal.Signals) -> None:
    async with stock_service(platform) as process:
        process.send_signal(number)
        done = await ended(process)

    lines = [json.loads(line)["event"] for line in done.output.splitlines()]
    assert (done.code, done.errors, lines[-1]) == (0, "", "process.stopped")


async def test_settings_that_make_no_sense_are_told(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "order_service.demo.stock_service",
        env={"STOCK_LATE_AFTER": "soon", "RABBITMQ_URL": "amqp://localhost/"},
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )

    done = await ended(process)

    assert done.code == 2
    assert done.errors.startswith("STOCK_LATE_AFTER: must be a duration")
