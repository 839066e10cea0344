"""What the operator's commands do in the database that DATABASE_URL names."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import TypeVar

from order_service import bootstrap, config
from order_service.storage import migrations
from order_service.storage.database import Database

T = TypeVar("T")


def in_database(work: Callable[[Database], Awaitable[T]]) -> T:
    """What `work` returns. Raises ConfigError, MigrationRefused if the schema is not this version's, and as storage
    does."""
    return asyncio.run(with_database(config.read(os.environ, config.API_NEEDS), work))


async def with_database(settings: config.Settings, work: Callable[[Database], Awaitable[T]]) -> T:
    """The same within a running loop."""
    await migrations.check(settings.database_url, bootstrap.known_migrations())
    async with bootstrap.database_of(settings, "command") as database:
        return await work(database)
