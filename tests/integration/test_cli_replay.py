"""The command line: a part of the history, published again to a queue that joined late."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from order_service.domain.events import EventType, OrderEvent
from order_service.storage.database import Database
from order_service.storage.events import FETCHED_BYTES, ReplayRange, StoredEvent
from order_service.use_cases.replay_events import next_events, windows
from tests.integration.commands import run, succeed
from tests.integration.peers import Recorder
from tests.integration.platform import Platform
from tests.integration.storage_fixtures import events, opened
from tests.integration.tcp_proxy import TcpProxy
from tests.waiting import eventually

LONG_AGO = "2020-01-01T00:00:00Z"
QUEUE = "invoices"
REPLAY = ("events", "replay", "--from", LONG_AGO)


async def record(database: Database, orders: int) -> list[OrderEvent]:
    """So many orders with two events each, as they come about: all first ones before all second ones."""
    histories = [events(UUID(int=number), versions=2) for number in range(1, orders + 1)]
    appended = [history[version] for version in (0, 1) for history in histories]
    await database.run(lambda work: work.events.append(appended))
    return appended


async def recorded(platform: Platform, orders: int) -> list[OrderEvent]:
    async with opened(platform.database_url) as database:
        return await record(database, orders)


async def declare(platform: Platform, **arguments: Any) -> None:
    async with platform.broker() as channel:
        await channel.declare_queue(QUEUE, durable=True, arguments=arguments)


async def received(platform: Platform) -> list[tuple[str, str]]:
    """Order and message id of what the queue holds, which is then empty."""
    found = []
    async with platform.broker() as channel:
        queue = await channel.get_queue(QUEUE)
        while message := await queue.get(no_ack=True, fail=False):
            found.append((message.headers["ce-subject"], message.message_id or ""))
    return [(str(order_id), message_id) for order_id, message_id in found]


def by_order(messages: Sequence[tuple[str, str]]) -> dict[str, list[str]]:
    """The message ids of each order, as they came."""
    found: dict[str, list[str]] = {}
    for order_id, message_id in messages:
        found.setdefault(order_id, []).append(message_id)
    return found


def expected(appended: Sequence[OrderEvent]) -> dict[str, list[str]]:
    return by_order([(str(event.order_id), str(event.event_id)) for event in appended])


async def test_a_late_queue_gets_the_same_ids_in_version_order(platform: Platform) -> None:
    appended = await recorded(platform, 300)
    await declare(platform)

    replayed = await succeed(platform.environment(), *REPLAY, "--queue", QUEUE, "--json")

    assert (replayed.json["complete"], replayed.json["total"], replayed.json["published"]) == (True, 600, 600)
    assert by_order(await received(platform)) == expected(appended)


async def test_a_range_and_types_choose_what_is_published(platform: Platform) -> None:
    appended = await recorded(platform, 3)
    await declare(platform)
    until = appended[-1].occurred_at.isoformat()

    chosen = ("--until", until, "--type", "order.confirmed", "--queue", QUEUE)
    counted = await succeed(platform.environment(), *REPLAY, *chosen, "--dry-run", "--json")
    await succeed(platform.environment(), *REPLAY, *chosen)

    assert counted.json == {"total": 2, "by_type": {"order.confirmed": 2}}
    assert by_order(await received(platform)) == expected(appended[3:5])


async def test_everybody_gets_them_only_after_being_asked(platform: Platform) -> None:
    appended = await recorded(platform, 2)

    async with Recorder.running(platform) as recorder:
        unasked = await run(platform.environment(), *REPLAY, "--exchange")
        await run(platform.environment(), *REPLAY, "--exchange", "--type", "order.confirmed", "--yes")
        await eventually(lambda: len(recorder.messages) == 2)

    assert (unasked.code, unasked.errors.count("\n")) == (2, 1)
    assert [message.message_id for message in recorder.messages] == [str(event.event_id) for event in appended[2:]]


async def test_a_replay_that_the_queue_refuses_goes_on_from_where_it_came(platform: Platform) -> None:
    appended = await recorded(platform, 400)
    await declare(platform, **{"x-max-length": 300, "x-overflow": "reject-publish"})

    stopped = await run(platform.environment(), *REPLAY, "--queue", QUEUE, "--json")
    first = await received(platform)
    resume_from = stopped.json["resume_from"]
    async with platform.broker() as channel:
        await channel.queue_delete(QUEUE)
    await declare(platform)
    await succeed(platform.environment(), "events", "replay", "--from", resume_from, "--queue", QUEUE)
    rest = await received(platform)

    assert (stopped.code, stopped.json["complete"]) == (1, False)
    assert f"go on with --from {resume_from}" in stopped.errors
    assert set(first) | set(rest) == {(str(event.order_id), str(event.event_id)) for event in appended}
    assert len(rest) < len(appended)


async def test_a_lost_connection_is_exit_code_3_and_says_where_to_go_on(platform: Platform) -> None:
    appended = await recorded(platform, 5)
    await declare(platform)
    async with TcpProxy.to(platform.rabbitmq_url) as (proxy, url):
        await proxy.cut()

        lost = await run(platform.environment(RABBITMQ_URL=url), *REPLAY, "--queue", QUEUE, "--json")

    assert (lost.code, lost.json["published"], lost.json["total"]) == (3, 0, len(appended))
    assert f"go on with --from {LONG_AGO}" in lost.errors


async def test_a_queue_that_is_not_there_is_told_before_anything_is_published(platform: Platform) -> None:
    await recorded(platform, 1)

    done = await run(platform.environment(), *REPLAY, "--queue", "nobody")

    assert (done.code, done.output) == (2, "")
    assert done.errors == (
        "order-service: the broker has no queue 'nobody': declare it, bind it to order.events, try again\n"
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ("--from", "yesterday", "--queue", QUEUE),
        ("--from", LONG_AGO, "--until", LONG_AGO, "--queue", QUEUE),
        ("--from", LONG_AGO),
        ("--from", LONG_AGO, "--queue", QUEUE, "--exchange"),
        ("--from", LONG_AGO, "--queue", QUEUE, "--type", "order.eaten"),
    ],
)
async def test_what_makes_no_sense_is_exit_code_2(shared_platform: Platform, arguments: tuple[str, ...]) -> None:
    done = await run(shared_platform.environment(), "events", "replay", *arguments)

    assert (done.code, done.output, done.errors.count("\n")) == (2, "", 1)


async def test_a_page_of_large_events_holds_so_many_as_memory_bears(platform: Platform) -> None:
    await platform.query(
        """
        insert into order_service.order_events
            (order_id, version, event_id, user_id, type, status, occurred_at, payload)
        select gen_random_uuid(), 1, gen_random_uuid(), 'ada', 'order.created', 'PENDING',
               now() - n * interval '1 second', repeat('x', %s)
        from generate_series(1, 9) n
        """,
        FETCHED_BYTES // 4,
    )
    now = datetime.now(UTC)
    wanted = ReplayRange(now - timedelta(days=1), now, [EventType.ORDER_CREATED])
    pages: list[list[StoredEvent]] = [[]]

    async with opened(platform.database_url) as database, database.read() as work:
        while page := await next_events(work, wanted, pages[-1][-1] if pages[-1] else None):
            pages.append(page)

    assert [len(page) for page in pages[1:]] == [4, 4, 1]
    assert len({event.event_id for page in pages for event in page}) == 9


def test_a_window_never_holds_two_events_of_one_order() -> None:
    now = datetime.now(UTC)
    orders = [1, 2, 3, 2, 4, 4, 5]
    history = [
        StoredEvent(UUID(int=order), place, UUID(int=place), event.type, now + timedelta(seconds=place), "", "{}")
        for place, order in enumerate(orders)
        for event in events(UUID(int=order))
    ]

    cut = [[event.order_id.int for event in window] for window in windows(history)]

    assert cut == [[1, 2, 3], [2, 4], [4, 5]]
