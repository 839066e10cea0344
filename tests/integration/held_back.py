"""Makes transactions wait, so that a test can look at what happens meanwhile."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import psycopg
from psycopg.sql import SQL, Identifier

from tests.integration.platform import Platform

Waiting = Callable[[int], Awaitable[bool]]


@asynccontextmanager
async def held_back(platform: Platform, table: str = "order_items") -> AsyncIterator[Waiting]:
    """Lets every transaction that writes to a table wait within; gives a function that says whether so many do, at
    least."""

    async def waiting(count: int) -> bool:
        rows = await platform.query(
            "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
        )
        return bool(rows[0][0] >= count)

    async with await psycopg.AsyncConnection.connect(platform.database_url) as connection:
        lock = SQL("lock table order_service.{} in share row exclusive mode").format(Identifier(table))
        await connection.execute(lock)
        yield waiting
        await connection.rollback()


async def end_sessions_of_apis(platform: Platform) -> None:
    """Lets PostgreSQL forget what the apis have sent, as if the last of it had never come: after a kill alone, a
    transaction goes on to the COMMIT that travelled with it."""
    ended = await platform.query(
        "select pg_terminate_backend(pid, 30000) from pg_stat_activity"
        " where datname = current_database() and application_name = 'order-service api'"
    )
    assert ended, "no session of an api"
    assert all(gone for (gone,) in ended), "a session did not end"
