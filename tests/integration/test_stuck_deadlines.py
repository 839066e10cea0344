"""Sagas whose deadline cannot be kept, however many: fresh ones do not wait for them, and they are tried ever less."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from structlog.testing import capture_logs

from order_service.storage.database import Database
from order_service.telemetry.metrics import Metrics
from order_service.timers.deadlines import Deadlines
from tests.endurance.orders import OF_ANOTHER_VERSION, make_pending
from tests.integration.platform import Platform
from tests.integration.storage_fixtures import RULES, created, opened
from tests.waiting import eventually

MANY = 3_000
FEW_ROUNDS = 2
"""One from each end."""


@pytest.fixture
async def database(platform: Platform) -> AsyncIterator[Database]:
    async with opened(platform.database_url, seconds=30) as database:
        yield database


@pytest.fixture
def deadlines(database: Database) -> Iterator[Deadlines]:
    with capture_logs():
        yield Deadlines(database, RULES, Metrics(), asyncio.Event())


async def test_the_deadlines_of_fresh_sagas_are_kept_at_once_beside_very_many_that_cannot_be(
    platform: Platform, database: Database, deadlines: Deadlines
) -> None:
    await make_pending(platform, MANY, "failing", OF_ANOTHER_VERSION, deadline_seconds=-60)
    fresh = await created(database, 20)
    await platform.query("update order_service.sagas set deadline_at = now() where order_id = any(%s)", fresh)

    for _ in range(FEW_ROUNDS):
        await deadlines.round()

    assert await cancelled(platform) == set(fresh)


async def test_a_saga_that_is_overdue_behind_very_many_is_reached_too(
    platform: Platform, database: Database, deadlines: Deadlines
) -> None:
    await make_pending(platform, 250, "failing", OF_ANOTHER_VERSION, deadline_seconds=-60)
    behind = await created(database, 20)
    await platform.query(
        "update order_service.sagas set deadline_at = now() - interval '50 seconds' where order_id = any(%s)", behind
    )
    await make_pending(platform, 250, "failing", OF_ANOTHER_VERSION, deadline_seconds=-40)

    async def reached() -> bool:
        await deadlines.round()
        return await cancelled(platform) == set(behind)

    await eventually(reached, 60)


@pytest.mark.parametrize(("waited", "put_off"), [(30, 60), (600, 600), (86_400, 3_600)])
async def test_one_that_cannot_be_kept_is_put_off_by_as_long_as_it_has_waited(
    platform: Platform, deadlines: Deadlines, waited: float, put_off: float
) -> None:
    await make_pending(platform, 1, "failing", OF_ANOTHER_VERSION, deadline_seconds=-1)
    ((began,),) = await platform.query(
        "update order_service.sagas set asked_at = now() - %s * interval '1 second'"
        " returning extract(epoch from now())::float",
        waited,
    )

    await deadlines.round()

    ((deadline, ended),) = await platform.query(
        "select extract(epoch from deadline_at)::float, extract(epoch from now())::float from order_service.sagas"
    )
    # It was put off at some instant between the two, until when it had gone on waiting.
    assert began + put_off <= deadline <= ended + put_off + (ended - began)


async def cancelled(platform: Platform) -> set[object]:
    """The orders that are."""
    rows = await platform.query("select order_id from order_service.orders where status = 'CANCELLED'")
    return {order_id for (order_id,) in rows}
