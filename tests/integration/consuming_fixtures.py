"""A worker that only consumes, the replies that it gets, what keeps it waiting, and what it has acknowledged."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

from order_service.broker.consumer import Incoming
from order_service.inbox.receive import message_key
from tests.integration.peers import StockService
from tests.integration.platform import Platform, Running
from tests.integration.storage_fixtures import session
from tests.waiting import eventually

QUEUE = "order_service.stock_update_results"
PATIENT = {"DATABASE_TIMEOUT": "60s", "SHUTDOWN_GRACE": "60s"}
"""Of a worker that waits for as long as a test holds a lock."""


async def consumer(platform: Platform, prefetch: int, **settings: str) -> Running:
    """A worker that only consumes, so many replies in a transaction at most."""
    return await platform.start_worker("--only", "consumer", CONSUMER_PREFETCH=str(prefetch), **{**PATIENT, **settings})


def reply(order_id: UUID, **more: Any) -> bytes:
    return json.dumps({"order_id": str(order_id), "success": True, **more}).encode()


async def succeed(stock: StockService, order_id: UUID) -> None:
    await stock.send(reply(order_id))


@asynccontextmanager
async def locked(platform: Platform, *order_ids: UUID) -> AsyncIterator[None]:
    """Lets whoever changes one of these orders wait within."""
    async with session(platform.database_url) as holding, holding.transaction():
        await holding.execute(
            "select 1 from order_service.orders where order_id = any(%s) order by order_id for update",
            [list(order_ids)],
        )
        yield


@asynccontextmanager
async def noted(platform: Platform, body: bytes) -> AsyncIterator[None]:
    """Lets whoever notes this reply as handled wait within; it is not, in the end."""
    key = message_key(Incoming(1, "", {}, body, False))
    async with session(platform.database_url) as holding, holding.transaction(force_rollback=True):
        await holding.execute(
            "insert into order_service.inbox (consumer, message_key) values (%s, %s)", ["StockUpdateResult", key]
        )
        yield


async def waiting(platform: Platform, count: int) -> None:
    """Returns when so many transactions wait for a lock."""
    query = "select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"

    async def so_many_wait() -> bool:
        return len(await platform.query(query)) == count

    await eventually(so_many_wait)


async def orders_with(platform: Platform, status: str) -> set[UUID]:
    rows = await platform.query("select order_id from order_service.orders where status = %s", status)
    return {order_id for (order_id,) in rows}


async def confirmed(platform: Platform, *order_ids: UUID) -> None:
    """Returns when these orders are confirmed."""

    async def all_are() -> bool:
        return set(order_ids) <= await orders_with(platform, "CONFIRMED")

    await eventually(all_are)


def replies(worker: Running, outcome: str) -> float:
    return worker.metric("order_service_replies_total", step="stock", outcome=outcome)


def all_handled(worker: Running) -> float:
    return replies(worker, "applied") + replies(worker, "duplicate")


async def counted(worker: Running, outcome: str, count: int) -> None:
    """Returns when a worker has counted so many replies under an outcome: after their commit, and before whatever it
    acknowledges. To ask a second time gives it the time for that."""
    await eventually(lambda: replies(worker, outcome) == count)
    assert replies(worker, outcome) == count


async def in_queue(platform: Platform) -> tuple[int, int]:
    """How many replies are in the queue that no consumer holds, and how many consumers it has."""
    async with platform.broker() as channel:
        found = (await channel.declare_queue(QUEUE, passive=True)).declaration_result
        return found.message_count or 0, found.consumer_count or 0


async def all_delivered(platform: Platform) -> None:
    """Returns when a worker holds every reply."""

    async def none_waits() -> bool:
        return (await in_queue(platform))[0] == 0

    await eventually(none_waits)


async def given_back(platform: Platform) -> int:
    """How many replies were not acknowledged, once nobody holds any of them."""

    async def nobody_consumes() -> bool:
        return (await in_queue(platform))[1] == 0

    await eventually(nobody_consumes)
    return (await in_queue(platform))[0]


async def left_by(worker: Running, platform: Platform) -> int:
    """How many replies a worker that stops in good order gives back."""
    assert await asyncio.to_thread(worker.stop) == 0
    return await given_back(platform)
