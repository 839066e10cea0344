"""A connection to a server that takes no writes any more, as a primary that was demoted, is not used again."""

import pytest
from psycopg.conninfo import conninfo_to_dict
from psycopg.sql import SQL, Identifier

from order_service.domain.errors import StorageUnavailable
from tests.integration.platform import Platform
from tests.integration.storage_fixtures import ask, create, opened, session


async def test_a_pool_of_read_only_connections_is_replaced_once_there_is_a_primary_again(platform: Platform) -> None:
    await make_read_only(platform, True)

    async with opened(platform.database_url, connections=3) as database:
        with pytest.raises(StorageUnavailable, match="25006"):
            await create(database, ask("ada"))
        await make_read_only(platform, False)
        created = await create(database, ask("ada"))

    assert created


async def make_read_only(platform: Platform, wanted: bool) -> None:
    """Lets sessions that begin from now on write nothing, or write again; those that are open stay as they are."""
    name = Identifier(str(conninfo_to_dict(platform.database_url)["dbname"]))
    async with session(platform.database_url, options="-c default_transaction_read_only=off") as connection:
        await connection.execute(
            SQL("alter database {} set default_transaction_read_only = {}").format(name, SQL("on" if wanted else "off"))
        )
