"""What cannot be handled or sent is kept: tried again by itself for a while, then until an operator decides."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from structlog.testing import capture_logs
from uuid_utils.compat import uuid7

from order_service.broker.consumer import Incoming
from order_service.domain.errors import StorageUnavailable
from order_service.inbox.receive import Receiver
from order_service.outbox.leases import Leases
from order_service.saga.order_saga import StepName
from order_service.storage.database import Database
from order_service.storage.outbox import DueEvent, Failure, Fence
from order_service.storage.parked_messages import ParkedCount, ParkedMessage
from order_service.telemetry.metrics import Metrics
from order_service.telemetry.readiness import Readiness
from order_service.timers.parked_retries import ParkedRetries
from order_service.use_cases.handle_parked_messages import (
    ParkedMessageNotFound,
    discard_parked,
    redrive_parked,
    show_parked,
)
from tests.integration.platform import Platform
from tests.integration.storage_fixtures import RULES, ask, create, created, events, histories, history_of, opened

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
BEGINNING = datetime(1, 1, 1, tzinfo=UTC)
RETRY_FOR = timedelta(minutes=5)


@pytest.fixture
async def database(platform: Platform) -> AsyncIterator[Database]:
    async with opened(platform.database_url) as database:
        yield database


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Errors that are meant to happen need not be printed."""
    with capture_logs():
        yield


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def receiver(database: Database, metrics: Metrics) -> Receiver:
    return Receiver(StepName.STOCK, database, [], 10, RULES, metrics, Readiness(), asyncio.Event())


@pytest.fixture
def retries(database: Database, metrics: Metrics) -> ParkedRetries:
    return ParkedRetries(database, RETRY_FOR, RULES, metrics, asyncio.Event())


def message(body: bytes, redelivered: bool = False, **headers: Any) -> Incoming:
    return Incoming(1, "", headers, body, redelivered)


def success(order_id: UUID, **headers: Any) -> Incoming:
    """What the stock service says of an order that it has taken the stock for."""
    return message(json.dumps({"order_id": str(order_id), "success": True}).encode(), **headers)


async def parked(database: Database) -> list[ParkedMessage]:
    """All parked messages, whole, oldest first."""
    async with database.read() as work:
        page = await work.parked.page(0, 1_000)
        return [one for each in page if (one := await work.parked.get(each.parked_id))]


async def count(database: Database) -> ParkedCount:
    async with database.read() as work:
        return await work.parked.count()


async def let_retries_be_due(platform: Platform) -> None:
    await platform.query("update order_service.parked_messages set retry_at = now() where retry_at is not null")


async def spoil(platform: Platform, order_id: UUID) -> None:
    """Leaves an order in a state that no version of the service knows: whatever is done with it fails."""
    await platform.query(
        'update order_service.sagas set steps = \'{"postage": "ASKED"}\' where order_id = %s', order_id
    )


async def test_a_reply_for_an_unknown_order_is_applied_once_the_order_exists(
    platform: Platform, database: Database, receiver: Receiver, retries: ParkedRetries
) -> None:
    asked = ask()
    await receiver.handle([success(asked.order_id, traceparent=TRACEPARENT)])
    (kept,) = await parked(database)
    await let_retries_be_due(platform)
    in_vain = await retries.round()
    (kept_still,) = await parked(database)

    await create(database, asked)
    await let_retries_be_due(platform)
    handled = await retries.round()

    assert (kept.reason_code, kept.order_id, kept.attempts) == ("UNKNOWN_ORDER", asked.order_id, 0)
    assert kept.retry_at is not None
    assert (in_vain, kept_still.attempts, handled) == (0, 1, 1)
    assert kept_still.retry_at is not None
    assert kept_still.retry_at > kept.retry_at
    assert await parked(database) == []
    assert await history_of(platform, asked.order_id) == ["created", "confirmed"]
    traces = await platform.query("select traceparent from order_service.order_events where version = 2")
    assert traces == [(TRACEPARENT,)]


async def test_a_retry_that_is_not_due_is_left_alone(
    platform: Platform, database: Database, receiver: Receiver, retries: ParkedRetries
) -> None:
    asked = ask()
    await receiver.handle([success(asked.order_id)])
    await platform.query("update order_service.parked_messages set retry_at = retry_at + interval '1 minute'")
    await create(database, asked)

    assert await retries.round() == 0
    assert await count(database) == ParkedCount(0, 1)


@pytest.mark.parametrize("sent", ["garbage", "00-0", b"\xff", 7, {"a": 1}], ids=repr)
async def test_a_malformed_trace_context_is_not_passed_on_by_a_retry(
    platform: Platform, database: Database, receiver: Receiver, retries: ParkedRetries, sent: Any
) -> None:
    asked = ask()
    await receiver.handle([success(asked.order_id, traceparent=sent)])
    await create(database, asked)
    await let_retries_be_due(platform)

    assert await retries.round() == 1

    assert await platform.query("select traceparent from order_service.outbox where version = 2") == [(None,)]


async def test_a_reply_whose_order_never_comes_is_left_to_an_operator(
    platform: Platform, database: Database, receiver: Receiver, retries: ParkedRetries, metrics: Metrics
) -> None:
    await receiver.handle([success(uuid7()), success(uuid7())])
    first, second = await parked(database)
    await platform.query(
        "update order_service.parked_messages set first_seen_at = now() - interval '5 minutes 1 second'"
        " where parked_id = %s",
        first.parked_id,
    )
    await let_retries_be_due(platform)

    await retries.round()

    assert await count(database) == ParkedCount(1, 1)
    async with database.read() as work:
        left = await show_parked(work, first.parked_id)
        tried_again = await show_parked(work, second.parked_id)
    assert (left.retry_at, left.reason_code) == (None, "UNKNOWN_ORDER")
    assert tried_again.retry_at is not None
    labels = {"direction": "IN", "reason_code": "UNKNOWN_ORDER"}
    assert metrics.registry.get_sample_value("order_service_parked_total", labels) == 1


async def test_a_reply_left_to_an_operator_is_not_tried_again_until_it_is_redriven(
    platform: Platform, database: Database, receiver: Receiver, retries: ParkedRetries
) -> None:
    asked = ask()
    await receiver.handle([success(asked.order_id)])
    await platform.query("update order_service.parked_messages set retry_at = null, first_seen_at = '2020-01-01'")
    await create(database, asked)
    not_tried = await retries.round()
    (left,) = await parked(database)

    await database.run(lambda work: redrive_parked(work, left.parked_id))
    handled = await retries.round()

    assert (not_tried, handled) == (0, 1)
    assert await parked(database) == []
    assert await history_of(platform, asked.order_id) == ["created", "confirmed"]


async def test_a_redriven_reply_whose_order_is_still_unknown_has_all_of_its_time_again(
    platform: Platform, database: Database, receiver: Receiver, retries: ParkedRetries
) -> None:
    await receiver.handle([success(uuid7())])
    await platform.query("update order_service.parked_messages set retry_at = null, first_seen_at = '2020-01-01'")
    (left,) = await parked(database)

    await database.run(lambda work: redrive_parked(work, left.parked_id))
    await retries.round()

    assert await count(database) == ParkedCount(0, 1)


async def test_a_reply_that_was_applied_while_it_was_parked_is_not_applied_again(
    platform: Platform, database: Database, receiver: Receiver, retries: ParkedRetries
) -> None:
    asked = ask()
    await receiver.handle([success(asked.order_id)])
    await create(database, asked)
    await receiver.handle([success(asked.order_id)])
    await let_retries_be_due(platform)

    handled = await retries.round()

    assert handled == 1
    assert await parked(database) == []
    assert await history_of(platform, asked.order_id) == ["created", "confirmed"]


async def test_two_workers_retry_each_reply_once(
    platform: Platform, database: Database, receiver: Receiver, metrics: Metrics
) -> None:
    asked = [ask() for _ in range(150)]
    await receiver.handle([success(one.order_id) for one in asked])
    await create(database, *asked)
    await let_retries_be_due(platform)
    workers = [ParkedRetries(database, RETRY_FOR, RULES, metrics, asyncio.Event()) for _ in range(2)]

    handled = [await asyncio.gather(*[worker.round() for worker in workers]) for _ in range(2)]

    assert sum(sum(round) for round in handled) == 150
    assert set(map(tuple, (await histories(platform)).values())) == {("created", "confirmed")}


POISON = b'\x00\xff {"order_id": "nobody knows"}'


async def test_what_is_unreadable_is_parked_at_once_with_its_bytes_headers_and_the_reason(
    database: Database, receiver: Receiver, metrics: Metrics
) -> None:
    headers: dict[str, Any] = {
        "traceparent": TRACEPARENT,
        "n\0ul": "a\0b\ud800",
        "raw": b"\xff",
        "deep": [{"a": [1.5, None]}],
    }

    await receiver.handle([message(POISON, **headers)])

    (kept,) = await parked(database)
    assert (kept.direction, kept.source, kept.reason_code) == ("IN", "StockUpdateResult", "UNREADABLE")
    assert kept.reason.startswith("JSON is malformed")
    assert (kept.body, kept.size, kept.retry_at) == (POISON, len(POISON), None)
    assert kept.headers == {
        "traceparent": TRACEPARENT,
        "nul": "ab?",
        "raw": {"base64": "/w=="},
        "deep": [{"a": ["1.5", None]}],
    }
    labels = {"direction": "IN", "reason_code": "UNREADABLE"}
    assert metrics.registry.get_sample_value("order_service_parked_total", labels) == 1


async def test_a_poison_message_that_is_delivered_again_is_parked_once(database: Database, receiver: Receiver) -> None:
    await receiver.handle([message(POISON)])

    await receiver.handle([message(POISON, redelivered=True)])
    await receiver.handle([message(POISON, redelivered=True), message(b"other", redelivered=True)])

    assert [one.body for one in await parked(database)] == [POISON, b"other"]


async def test_two_messages_that_are_alike_to_the_byte_are_both_kept(database: Database, receiver: Receiver) -> None:
    await receiver.handle([message(POISON), message(POISON)])
    await receiver.handle([message(POISON)])

    assert [one.body for one in await parked(database)] == [POISON] * 3


async def test_a_poison_message_does_not_stop_its_neighbours(
    platform: Platform, database: Database, receiver: Receiver
) -> None:
    order_ids = await created(database, 3)

    await receiver.handle([success(order_ids[0]), message(POISON), *map(success, order_ids[1:]), success(uuid7())])

    assert [one.reason_code for one in await parked(database)] == ["UNKNOWN_ORDER", "UNREADABLE"]
    assert set(map(tuple, (await histories(platform)).values())) == {("created", "confirmed")}


@pytest.mark.parametrize("place", [0, 3, 6])
async def test_of_a_batch_that_cannot_be_stored_only_the_culprit_is_parked(
    platform: Platform, database: Database, receiver: Receiver, place: int
) -> None:
    order_ids = await created(database, 7)
    culprit = order_ids[place]
    await spoil(platform, culprit)

    await receiver.handle([success(order_id) for order_id in order_ids])

    (kept,) = await parked(database)
    assert (kept.reason_code, kept.retry_at) == ("REFUSED_BY_DATABASE", None)
    assert "unknown saga steps ['postage']" in kept.reason
    assert json.loads(kept.body)["order_id"] == str(culprit)
    found = await histories(platform)
    assert found.pop(culprit) == ["created"]
    assert set(map(tuple, found.values())) == {("created", "confirmed")}


async def test_a_redriven_message_that_fails_again_starves_no_other(
    platform: Platform, database: Database, receiver: Receiver, retries: ParkedRetries
) -> None:
    (culprit,) = await created(database, 1)
    await spoil(platform, culprit)
    await receiver.handle([success(culprit)])
    (kept,) = await parked(database)
    await database.run(lambda work: redrive_parked(work, kept.parked_id))
    others = [ask(), ask()]
    await receiver.handle([success(other.order_id) for other in others])
    await create(database, *others)
    await let_retries_be_due(platform)

    handled = await retries.round()

    assert handled == 2
    (left,) = await parked(database)
    assert (left.parked_id, left.retry_at, left.reason_code) == (kept.parked_id, None, "REFUSED_BY_DATABASE")
    found = await histories(platform)
    assert [found[other.order_id] for other in others] == [["created", "confirmed"]] * 2


async def test_a_redriven_message_that_is_still_unreadable_is_left_to_the_operator_again(
    platform: Platform, database: Database, receiver: Receiver, retries: ParkedRetries
) -> None:
    await receiver.handle([message(POISON)])
    (kept,) = await parked(database)
    await database.run(lambda work: redrive_parked(work, kept.parked_id))

    assert await retries.round() == 0

    assert await count(database) == ParkedCount(1, 0)


async def test_a_retry_that_cannot_reach_postgresql_changes_nothing(
    platform: Platform, database: Database, receiver: Receiver, metrics: Metrics
) -> None:
    await receiver.handle([success(uuid7())])
    await let_retries_be_due(platform)
    before = await parked(database)
    async with opened(platform.database_url) as closed:
        pass

    with pytest.raises(StorageUnavailable):
        await ParkedRetries(closed, RETRY_FOR, RULES, metrics, asyncio.Event()).round()

    assert await parked(database) == before


async def test_a_discarded_message_is_gone(database: Database, receiver: Receiver, retries: ParkedRetries) -> None:
    await receiver.handle([message(POISON), message(b"other")])
    kept, other = await parked(database)

    discarded = await database.run(lambda work: discard_parked(work, kept.parked_id))

    assert discarded == kept
    assert await parked(database) == [other]


async def test_what_is_not_parked_any_more_is_not_found(database: Database, receiver: Receiver) -> None:
    await receiver.handle([message(POISON)])
    (kept,) = await parked(database)
    await database.run(lambda work: discard_parked(work, kept.parked_id))

    for use_case in (show_parked, redrive_parked, discard_parked):
        with pytest.raises(ParkedMessageNotFound, match=f"there is no parked message {kept.parked_id}"):
            await database.run(lambda work, use_case=use_case: use_case(work, kept.parked_id))  # type: ignore[misc]


class ParkedEvent:
    """An order with two events, the first of which nobody took."""

    def __init__(self, database: Database, fence: Fence) -> None:
        self.order_id = uuid7()
        self._database = database
        self._fence = fence

    async def park(self) -> ParkedMessage:
        await self._database.run(lambda work: work.events.append(events(self.order_id, versions=2)))
        (due,) = await self.due()
        self._failure = Failure(due, "returned: no queue is bound", 0)
        await self.park_again()
        (kept,) = await parked(self._database)
        return kept

    async def park_again(self) -> None:
        """What a relay does that has not heard of its COMMIT."""
        await self._database.run(lambda work: work.outbox.park([self._failure], self._fence))

    async def due(self) -> list[DueEvent]:
        since = dict.fromkeys(self._fence.epochs, BEGINNING)
        async with self._database.read() as work:
            return await work.outbox.fetch_due(since, 32, 1_000)

    async def versions_due(self) -> list[int]:
        return [due.event.version for due in await self.due()]

    async def send(self) -> None:
        due = await self.due()
        await self._database.run(lambda work: work.outbox.mark_sent(due, self._fence))


@pytest.fixture
async def event(database: Database, metrics: Metrics) -> ParkedEvent:
    leases = Leases(database, uuid7(), metrics, clock=lambda: 0.0)
    await leases.run_once()
    return ParkedEvent(database, leases.fence())


async def test_an_event_that_nobody_takes_is_parked_with_its_body_and_holds_back_its_order(
    database: Database, event: ParkedEvent
) -> None:
    kept = await event.park()

    assert (kept.direction, kept.source, kept.reason_code) == ("OUT", "order.created", "NOT_TAKEN")
    assert (kept.order_id, kept.version, kept.attempts) == (event.order_id, 1, 1)
    assert (kept.reason, kept.retry_at) == ("returned: no queue is bound", None)
    assert json.loads(kept.body)["order_id"] == str(event.order_id)
    assert await event.versions_due() == []
    async with database.read() as work:
        unsent = await work.outbox.unsent_of_order(event.order_id)
    assert [(one.version, one.due_at is None) for one in unsent] == [(1, True), (2, False)]


async def test_an_event_is_parked_once_however_often_its_mark_is_repeated(
    platform: Platform, database: Database, event: ParkedEvent
) -> None:
    await event.park()

    await event.park_again()

    assert await count(database) == ParkedCount(1, 0)
    attempts = await platform.query("select attempts from order_service.outbox where version = 1")
    assert attempts == [(1,)]


async def test_a_redriven_event_is_sent_again_and_then_those_after_it(
    platform: Platform, database: Database, event: ParkedEvent
) -> None:
    kept = await event.park()

    await database.run(lambda work: redrive_parked(work, kept.parked_id))
    due = await event.versions_due()
    fresh = await platform.query(
        "select attempts, now() - enqueued_at < '1 minute' from order_service.outbox order by version"
    )
    await event.send()

    assert due == [1]
    assert fresh[0] == (0, True)
    assert await event.versions_due() == [2]
    assert await parked(database) == []


async def test_a_discarded_event_lets_the_later_ones_of_its_order_go_and_stays_in_the_history(
    platform: Platform, database: Database, event: ParkedEvent
) -> None:
    kept = await event.park()

    await database.run(lambda work: discard_parked(work, kept.parked_id))

    assert await event.versions_due() == [2]
    assert await parked(database) == []
    assert await history_of(platform, event.order_id) == ["created", "confirmed"]


async def test_parked_messages_are_listed_oldest_first_a_page_at_a_time_without_bodies(
    database: Database, receiver: Receiver
) -> None:
    await receiver.handle([message(b"%d" % number) for number in range(5)])

    async with database.read() as work:
        first = await work.parked.page(0, 3)
        second = await work.parked.page(first[-1].parked_id, 3)

    assert [len(first), len(second)] == [3, 2]
    ids = [one.parked_id for one in (*first, *second)]
    assert ids == sorted(set(ids))
    assert {one.body for one in first} == {b""}
