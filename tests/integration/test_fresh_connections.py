"""A connection that has just been of use is not asked whether it still works; one that is gone is never used."""

import time
from dataclasses import dataclass

import pytest

from order_service.domain.errors import StorageUnavailable
from order_service.storage import database as storage_database
from order_service.storage.database import Database
from order_service.storage.freshness import Freshness
from order_service.storage.silence import ServerSilent
from tests.integration.platform import Platform
from tests.integration.storage_fixtures import ask, create, opened, session
from tests.integration.tcp_proxy import TcpProxy
from tests.waiting import eventually

TIME_LIMIT_SECONDS = 1.0


@dataclass
class Clock:
    """Shows what it is told to."""

    now: float = 1_000.0

    def __call__(self) -> float:
        return self.now


async def backlog(database: Database) -> int:
    """Reads: nothing tries again after an error."""
    async with database.read() as unit_of_work:
        return (await unit_of_work.outbox.backlog()).count


async def test_a_connection_is_fresh_for_a_second_after_its_use(platform: Platform) -> None:
    clock = Clock()
    freshness = Freshness(clock)
    async with session(platform.database_url) as connection:
        never_used = freshness.is_fresh(connection)

        freshness.note_use(connection)
        clock.now += 0.9
        just_used = freshness.is_fresh(connection)
        clock.now += 0.2
        used_long_ago = freshness.is_fresh(connection)

    assert (never_used, just_used, used_long_ago) == (False, True, False)


async def test_a_session_that_the_server_has_ended_meanwhile_is_not_used(platform: Platform) -> None:
    async with opened(platform.database_url, connections=1) as database:
        await backlog(database)

        ended = await platform.query(
            "select pg_terminate_backend(pid, 30000) from pg_stat_activity"
            " where datname = current_database() and application_name = 'order-service tests'"
        )
        found = await backlog(database)

    assert ended == [(True,)]
    assert found == 0


async def test_a_connection_that_the_network_has_ended_meanwhile_is_not_used(platform: Platform) -> None:
    async with TcpProxy.to(platform.database_url) as (proxy, url), opened(url, connections=1) as database:
        await backlog(database)

        await proxy.cut_and_restore()
        found = await backlog(database)

    assert found == 0


async def test_a_server_that_has_just_fallen_silent_is_waited_for_once(platform: Platform) -> None:
    async with (
        TcpProxy.to(platform.database_url) as (proxy, url),
        opened(url, connections=3, seconds=TIME_LIMIT_SECONDS) as database,
    ):
        await eventually(lambda: database.pool_figures()["pool_available"] == 2)
        await backlog(database)
        await backlog(database)
        proxy.freeze()
        began = time.monotonic()
        with pytest.raises(StorageUnavailable) as failure:
            await create(database, ask())
        seconds = time.monotonic() - began
        proxy.thaw()

    assert isinstance(failure.value.__cause__, ServerSilent)
    assert seconds >= 2 * TIME_LIMIT_SECONDS


async def test_a_server_is_not_asked_whether_it_answers_while_its_last_answer_counts(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with TcpProxy.to(platform.database_url) as (proxy, url), opened(url, 1, TIME_LIMIT_SECONDS) as database:
        await backlog(database)
        await proxy.cut()

        monkeypatch.setattr(storage_database, "_ANSWER_HOLDS_SECONDS", 3_600.0)
        await database.ping()
        monkeypatch.setattr(storage_database, "_ANSWER_HOLDS_SECONDS", 0.0)
        with pytest.raises(StorageUnavailable):
            await database.ping()


async def test_a_server_that_has_never_answered_is_asked(platform: Platform) -> None:
    async with TcpProxy.to(platform.database_url) as (proxy, url):
        await proxy.cut()
        async with opened(url, 1, TIME_LIMIT_SECONDS) as database:
            with pytest.raises(StorageUnavailable):
                await database.ping()
