"""Relays without a broker: their leases, and what they do to the outbox under them."""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from uuid import UUID

import pytest
from uuid_utils.compat import uuid7

from order_service.outbox.leases import Leases
from order_service.storage.database import Database
from order_service.storage.events import BUCKETS
from order_service.storage.outbox import DueEvent, Fence
from order_service.telemetry.metrics import Metrics
from tests.integration.platform import Platform
from tests.integration.storage_fixtures import events, opened

BEGINNING = datetime(1, 1, 1, tzinfo=UTC)
ALL_BUCKETS = range(BUCKETS)


def never_run_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases that do not run out within a test, however slow the machine, unless the test lets them."""
    monkeypatch.setattr("order_service.outbox.leases.TTL_SECONDS", 600.0)


@asynccontextmanager
async def three_relays(platform: Platform) -> AsyncIterator[list[Leases]]:
    """Three relays' leases, each on connections of its own."""
    async with AsyncExitStack() as stack:
        databases = [
            await stack.enter_async_context(opened(platform.database_url, connections=2, seconds=30)) for _ in range(3)
        ]
        yield [Leases(database, uuid7(), Metrics()) for database in databases]


def held(relay: Leases) -> set[int]:
    """The buckets that a relay may send."""
    return set(relay.fence().epochs)


async def settle(relays: Iterable[Leases]) -> None:
    """So many rounds that each has seen the others and has taken what they let go."""
    relays = list(relays)
    for _ in range(3):
        for relay in relays:
            await relay.run_once()


async def fetch(
    database: Database, buckets: Iterable[int] = ALL_BUCKETS, per_bucket: int = 32, limit: int = 10_000
) -> list[DueEvent]:
    """What is due, looked for from the beginning."""
    since = dict.fromkeys(buckets, BEGINNING)
    async with database.read() as work:
        return await work.outbox.fetch_due(since, per_bucket, limit)


async def append(database: Database, *order_ids: UUID, versions: int = 1) -> None:
    """Puts events into the outbox."""
    await database.run(
        lambda work: work.events.append([event for order_id in order_ids for event in events(order_id, versions)])
    )


async def mark_sent(database: Database, sent: Sequence[DueEvent], fence: Fence) -> int:
    """How many of those that were published are marked."""
    return await database.run(lambda work: work.outbox.mark_sent(sent, fence))


async def expire(platform: Platform, relay: Leases) -> None:
    """Lets a relay be taken for dead by PostgreSQL."""
    await platform.query(
        "update order_service.relays set expires_at = now() - interval '1 second' where owner = %s", relay.owner
    )
