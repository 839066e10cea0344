"""The previous release and this one on one database, side by side, as in a rolling upgrade."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

import psycopg
import pytest

from order_service.bootstrap import known_migrations
from order_service.outbox.leases import RENEW_SECONDS, TTL_SECONDS
from order_service.storage import migrations
from tests.integration.load import Load, patient_gateway
from tests.integration.peers import Recorder, StockService, success
from tests.integration.platform import Platform, Running
from tests.integration.previous_release import NoHistory, Release, previous_release
from tests.integration.stopwatch import Stopwatch
from tests.waiting import eventually

SOME = 100
"""So many orders are placed in each stage of the upgrade, at least."""

RATE = 60.0
STALLED_SECONDS = (TTL_SECONDS - RENEW_SECONDS) / 2
_MIGRATIONS = """
    select 1 from pg_stat_activity
    where datname = current_database() and application_name = '' and pid <> pg_backend_pid()
"""
_SCHEMA = """
    select table_name, column_name from information_schema.columns where table_schema = 'order_service'
    union all select tablename, indexname from pg_indexes where schemaname = 'order_service'
    order by 1, 2
"""


@pytest.fixture(scope="module")
def previous(tmp_path_factory: pytest.TempPathFactory) -> Release:
    try:
        return previous_release(tmp_path_factory.mktemp("previous"))
    except NoHistory as reason:
        pytest.skip(f"the previous release cannot be had from this checkout: {reason}")


@dataclass(slots=True)
class Upgrade:
    """Both releases at work on one platform."""

    platform: Platform
    previous: Release
    loads: list[Load] = field(default_factory=list)

    async def migrate(self, *, old: bool) -> None:
        """Lets a release bring the schema to its own state."""
        run = self.spawn("migrate", old=old)
        await eventually(lambda: run.process.poll() is not None, 60)
        assert run.process.returncode == 0, run.log.read_text()

    def spawn(self, *arguments: str, old: bool) -> Running:
        return self.platform.spawn(*arguments, **self.previous.environment if old else {})

    async def start_both(self, *, old: bool) -> tuple[Running, Running]:
        """An api and a worker of a release; fails if they are not of that release."""
        both = await self.platform.start_both(**self.previous.environment if old else {})
        for running in both:
            (started,) = running.log_lines("process.started")
            assert (started["version"] == self.previous.version) is old
        return both

    @asynccontextmanager
    async def placing(self, api: Running, user: str) -> AsyncIterator[Load]:
        """Orders for one api, for as long as the block lasts."""
        async with patient_gateway(api.ports["grpc"]) as stub:
            load = Load(stub, user, RATE)
            self.loads.append(load)
            async with load.placing():
                yield load

    async def more(self, *loads: Load) -> None:
        """Waits until each of them has placed some more orders."""
        wanted = [len(load.acknowledged) + SOME for load in loads]
        await eventually(
            lambda: all(len(load.acknowledged) >= count for load, count in zip(loads, wanted, strict=True)), 60
        )

    async def schema(self) -> list[tuple[str, str]]:
        return [(table, name) for table, name in await self.platform.query(_SCHEMA)]

    async def assert_settled(self, recorder: Recorder) -> None:
        """Each order that was acknowledged has one outcome, in the database and in what was sent."""
        acknowledged = {order_id for load in self.loads for order_id in load.acknowledged.values()}
        await eventually(lambda: len(recorder.sent().histories()) >= len(acknowledged), 60)
        await eventually(lambda: recorder.sent().are_settled(), 60)
        await eventually(self._nothing_waits, 60)
        sent = recorder.sent()
        sent.assert_in_version_order()
        assert sent.histories().keys() == acknowledged
        assert sent.outcomes() == {"order.confirmed": len(acknowledged)}
        stored = await self.platform.query("select status, version, count(*) from order_service.orders group by 1, 2")
        assert stored == [("CONFIRMED", 2, len(acknowledged))]
        assert await self.platform.query("select 1 from order_service.parked_messages") == []

    def assert_no_call_failed(self) -> None:
        assert [dict(load.failures) for load in self.loads] == [{} for _ in self.loads]

    async def _nothing_waits(self) -> bool:
        return not await self.platform.query("select 1 from order_service.outbox limit 1")


@pytest.fixture
async def upgrade(platform: Platform, previous: Release) -> Upgrade:
    """The previous release's schema, and nothing running yet."""
    await platform.query("drop schema order_service cascade")
    upgrade = Upgrade(platform, previous)
    await upgrade.migrate(old=True)
    return upgrade


async def test_a_rolling_upgrade_fails_no_call_and_loses_nothing(upgrade: Upgrade) -> None:
    old_schema = await upgrade.schema()
    old_api, old_worker = await upgrade.start_both(old=True)
    async with StockService.running(upgrade.platform, success), Recorder.running(upgrade.platform) as recorder:
        async with upgrade.placing(old_api, "old") as by_old:
            await upgrade.more(by_old)
            await upgrade.migrate(old=False)
            await upgrade.more(by_old)
            with Stopwatch.running() as watch:
                new_api, new_worker = await upgrade.start_both(old=False)
                async with upgrade.placing(new_api, "new") as by_new:
                    await upgrade.more(by_old, by_new)
                    await asyncio.to_thread(old_worker.stop)
                    await upgrade.more(by_old, by_new)
        old_api.stop()

        await upgrade.assert_settled(recorder)

    assert await upgrade.schema() != old_schema
    upgrade.assert_no_call_failed()
    # Two workers share the outbox by leases: if the machine stands still, one may lose what it has in flight.
    ran_out = watch.longest > STALLED_SECONDS or new_worker.log_lines("leases.ran_out")
    assert new_worker.log_lines("relay.fenced") == [] or ran_out
    assert recorder.sent().repeats == 0 or ran_out


async def test_the_previous_version_starts_and_works_on_the_new_schema(upgrade: Upgrade) -> None:
    await upgrade.migrate(old=False)

    api, _ = await upgrade.start_both(old=True)
    async with StockService.running(upgrade.platform, success), Recorder.running(upgrade.platform) as recorder:
        async with upgrade.placing(api, "ada") as load:
            await upgrade.more(load)

        await upgrade.assert_settled(recorder)

    upgrade.assert_no_call_failed()


@pytest.mark.parametrize(("held", "whole"), [("order_events", 1), ("outbox", 2)])
async def test_a_migration_that_is_killed_while_the_previous_version_serves_leaves_nothing_half_done(
    upgrade: Upgrade, held: str, whole: int
) -> None:
    """The file that is under way leaves nothing; those before it stay."""
    known = known_migrations()
    await migrations.migrate(upgrade.platform.database_url, known[:whole], lambda _: None)
    before = await upgrade.schema()
    api, _ = await upgrade.start_both(old=True)
    async with StockService.running(upgrade.platform, success), Recorder.running(upgrade.platform) as recorder:
        async with upgrade.placing(api, "ada") as load:
            await upgrade.more(load)
            with _busy(upgrade.platform, held):
                run = upgrade.spawn("migrate", old=False)
                await eventually(lambda: _migration_waits(upgrade.platform))
                run.kill()
            await eventually(lambda: _migration_is_gone(upgrade.platform))
            after_kill = await upgrade.schema()
            await upgrade.more(load)
            await upgrade.migrate(old=False)
            await upgrade.more(load)

        await upgrade.assert_settled(recorder)

    assert after_kill == before
    upgrade.assert_no_call_failed()


@contextmanager
def _busy(platform: Platform, table: str) -> Iterator[None]:
    """A transaction that keeps this migration waiting for a table, and no order."""
    with psycopg.connect(platform.database_url) as connection:
        mode = "access share" if table == "outbox" else "row exclusive"
        connection.execute(f"lock table order_service.{table} in {mode} mode".encode())
        yield
        connection.rollback()


async def _migration_waits(platform: Platform) -> bool:
    """Whether it waits for a lock. The service's own connections have a name."""
    return bool(await platform.query(f"{_MIGRATIONS} and wait_event_type = 'Lock'"))


async def _migration_is_gone(platform: Platform) -> bool:
    return not await platform.query(f"{_MIGRATIONS} and state <> 'idle'")
