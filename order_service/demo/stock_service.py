"""A stand-in for the product service, written from the contract: `python -m order_service.demo.stock_service`

It takes each order from stock and answers with a StockUpdateResult. What it does is chosen by the product's id, so that
it is the same each time (see `BEHAVIOURS`); products that it does not know are in stock. Like the real one it does not
recognise an event that is published twice: it takes the stock twice. Its log is its books: `stock.taken` and
`stock.released`, each with order and items.

RABBITMQ_URL says where the broker is; it reconnects by itself, and SIGTERM ends it. Products called late are answered
after STOCK_LATE_AFTER (75s).
"""

import asyncio
import itertools
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, cast

import aio_pika
import structlog
from aio_pika.abc import AbstractChannel, AbstractExchange, AbstractIncomingMessage

from order_service import config, lifecycle
from order_service.loops import Backoff
from order_service.setting_kinds import duration
from order_service.telemetry import logs

log: Final = structlog.get_logger()

ORDERS_QUEUE: Final = "product_service_order_created_queue"
RELEASES_QUEUE: Final = "product_service_stock_release_queue"
_RELEASE: Final = "order.stock_release_requested"
_AT_ONCE: Final = 100
_RECONNECT_SECONDS: Final = 0.5
_CONNECT_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How an order is answered: how often, whether with a success, and whether too late."""

    success: bool = True
    times: int = 1
    late: bool = False


BEHAVIOURS: Final[Mapping[str, Behaviour]] = {
    "in-stock-": Behaviour(),
    "out-of-stock-": Behaviour(success=False),
    "never-answered-": Behaviour(times=0),
    "answered-twice-": Behaviour(times=2),
    "answered-late-": Behaviour(late=True),
}
"""By the prefix of a product's id."""


def behaviour_for(product_ids: Iterable[str]) -> Behaviour:
    """That of the first product that has one."""
    found = (
        behaviour
        for product_id in product_ids
        for prefix, behaviour in BEHAVIOURS.items()
        if product_id.startswith(prefix)
    )
    return next(found, BEHAVIOURS["in-stock-"])


class StockService:
    """Answers what one channel delivers."""

    def __init__(self, channel: AbstractChannel, late_after: timedelta) -> None:
        self._channel = channel
        self._late_after = late_after
        self._late: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Declares what it listens to as the contract has it, and starts to listen."""
        await self._channel.set_qos(prefetch_count=_AT_ONCE)
        orders = await self._channel.declare_exchange("orders_exchange", "fanout", durable=True)
        events = await self._channel.declare_exchange("order.events", "topic", durable=True)
        self._results = await self._channel.declare_exchange("stock_update_exchange", "fanout", durable=True)
        await self._listen(ORDERS_QUEUE, orders, "", self._on_order)
        await self._listen(RELEASES_QUEUE, events, _RELEASE, self._on_release)
        log.info("stock.listening")

    async def _listen(self, name: str, exchange: AbstractExchange, key: str, callback: Any) -> None:
        queue = await self._channel.declare_queue(name, durable=True)
        await queue.bind(exchange, key)
        await queue.consume(callback)

    async def _on_order(self, message: AbstractIncomingMessage) -> None:
        order = json.loads(message.body)
        behaviour = behaviour_for(item["product_id"] for item in order["items"])
        if behaviour.late:
            task = asyncio.create_task(self._answer_late(order, behaviour, message.headers))
            self._late.add(task)
            task.add_done_callback(self._late.discard)
        elif behaviour.times:
            await self._answer(order, behaviour, message.headers)
        await message.ack()

    async def _answer_late(self, order: Mapping[str, Any], behaviour: Behaviour, headers: Mapping[str, Any]) -> None:
        await asyncio.sleep(self._late_after.total_seconds())
        await self._answer(order, behaviour, headers)

    async def _answer(self, order: Mapping[str, Any], behaviour: Behaviour, headers: Mapping[str, Any]) -> None:
        result: dict[str, Any] = {"order_id": order["order_id"], "success": behaviour.success}
        if behaviour.success:
            log.info("stock.taken", order_id=order["order_id"], items=_quantities(order["items"]))
        else:
            result["reason"] = f"{order['items'][0]['product_id']} is out of stock"
            log.info("stock.refused", order_id=order["order_id"])
        trace = {name: headers[name] for name in ("traceparent", "baggage") if name in headers}
        for _ in range(behaviour.times):
            body = json.dumps(result).encode()
            answer = aio_pika.Message(body, content_type="application/json", delivery_mode=2, headers=trace)
            await self._results.publish(answer, "")

    async def _on_release(self, message: AbstractIncomingMessage) -> None:
        release = json.loads(message.body)
        log.info("stock.released", order_id=release["order_id"], items=_quantities(release["items"]))
        await message.ack()


def _quantities(items: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """How many of each product."""
    quantities: dict[str, int] = {}
    for item in items:
        quantities[item["product_id"]] = quantities.get(item["product_id"], 0) + item["quantity"]
    return quantities


async def serve(urls: Sequence[str], late_after: timedelta) -> None:
    """Answers until SIGTERM or SIGINT. Tries the brokers in turn until one lets it in."""
    stopping = asyncio.Event()
    lifecycle.stop_on_signals(stopping)
    backoff = Backoff()
    for url in itertools.cycle(urls):
        if stopping.is_set():
            return
        try:
            await _serve_at(url, late_after, stopping)
        except (OSError, RuntimeError, TimeoutError, aio_pika.exceptions.AMQPError) as error:
            log.warning("stock.waiting_for_rabbitmq", error=type(error).__name__)
            await backoff.wait(stopping)


async def _serve_at(url: str, late_after: timedelta, stopping: asyncio.Event) -> None:
    async with await aio_pika.connect_robust(
        url, timeout=_CONNECT_SECONDS, reconnect_interval=_RECONNECT_SECONDS
    ) as connection:
        await StockService(await connection.channel(), late_after).start()
        await stopping.wait()


def main() -> int:
    """The process; its exit code."""
    try:
        settings = config.read(os.environ, frozenset({"RABBITMQ_URL"}))
        late_after = _late_after(os.environ.get("STOCK_LATE_AFTER") or "75s")
    except config.ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    logs.configure(settings.log_level, settings.log_format)
    return lifecycle.run(serve(settings.rabbitmq_urls, late_after))


def _late_after(text: str) -> timedelta:
    kind = duration()
    try:
        return cast(timedelta, kind.parse(text))
    except ValueError:
        raise config.ConfigError([f"STOCK_LATE_AFTER: must be {kind.words} (not {text!r})"]) from None


if __name__ == "__main__":
    sys.exit(main())
