"""A transaction whose caller goes away leaves its connection as it found it."""

import asyncio

import pytest

from order_service.storage.database import Database
from tests.integration.platform import Platform
from tests.integration.storage_fixtures import ask, create, created, opened
from tests.integration.tcp_proxy import TcpProxy
from tests.waiting import eventually


async def sessions(platform: Platform, state: str) -> list[int]:
    """The service's sessions that are in a state, by process id."""
    found = await platform.query(
        "select pid from pg_stat_activity"
        " where datname = current_database() and application_name = 'order-service tests' and state = %s",
        state,
    )
    return [pid for (pid,) in found]


async def backlog(database: Database) -> int:
    """Reads."""
    async with database.read() as unit_of_work:
        return (await unit_of_work.outbox.backlog()).count


async def has_begun(platform: Platform) -> bool:
    """Whether a session of the service is in a transaction, or in the midst of what was sent."""
    return bool(await sessions(platform, "idle in transaction") + await sessions(platform, "active"))


async def test_a_transaction_that_is_cancelled_while_it_begins_leaves_none_open(platform: Platform) -> None:
    async with TcpProxy.to(platform.database_url) as (proxy, url), opened(url, connections=1) as database:
        await created(database, 1)
        before = await sessions(platform, "idle")
        proxy.freeze(requests=False)
        creating = asyncio.create_task(create(database, ask(request_id="one")))
        await eventually(lambda: has_begun(platform))
        creating.cancel()
        proxy.thaw()
        with pytest.raises(asyncio.CancelledError):
            await creating

        stored = await backlog(database)
        after = await sessions(platform, "idle")

    assert stored == 1
    assert after == before
