"""Orders are stored whole and once, whatever is repeated, at once or later, and whatever becomes of COMMIT."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from urllib.parse import urlsplit, urlunsplit

import pytest
from uuid_utils.compat import uuid7

from order_service.domain.errors import RequestIdReused, StorageRefused
from order_service.domain.money import Money
from order_service.domain.order import Item, Order
from order_service.domain.status import OrderStatus
from order_service.saga.engine import DeadlinePassed, SagaState, StepState
from order_service.saga.order_saga import StepName
from order_service.storage.create_requests import CreateRequest
from order_service.storage.database import Database
from order_service.storage.events import bucket_of
from order_service.storage.unit_of_work import UnitOfWork
from order_service.use_cases.create_orders import OrderToCreate, Result, create_orders
from tests.integration.platform import Platform
from tests.integration.storage_fixtures import (
    ITEMS,
    TIMEOUTS,
    TOTAL,
    again,
    ask,
    blocked,
    create,
    histories,
    make_due,
    opened,
    order_of,
    stimulate,
)
from tests.waiting import eventually


@pytest.fixture
async def database(platform: Platform) -> AsyncIterator[Database]:
    async with opened(platform.database_url, seconds=30) as database:
        yield database


async def counts(platform: Platform) -> dict[str, int]:
    """How many rows there are in each table of the order's path."""
    tables = ("orders", "order_items", "sagas", "order_events", "outbox", "create_requests")
    query = ", ".join(f"(select count(*) from order_service.{table})" for table in tables)
    (found,) = await platform.query(f"select {query}")
    return dict(zip(tables, found, strict=True))


def rows_of(orders: int, requests: int = 0, items: int = len(ITEMS)) -> dict[str, int]:
    """How many there should be for so many orders."""
    each = dict.fromkeys(("orders", "sagas", "order_events", "outbox"), orders)
    return {**each, "order_items": orders * items, "create_requests": requests}


async def test_one_transaction_writes_order_items_saga_history_and_outbox(
    platform: Platform, database: Database
) -> None:
    asked = ask(request_id="r")

    ((answered, is_new),) = await create(database, asked)

    assert (answered, is_new) == (
        Order(asked.order_id, "ada", TOTAL, OrderStatus.PENDING, 1, asked.asked_at, asked.asked_at, items=ITEMS),
        True,
    )
    assert await counts(platform) == rows_of(1, requests=1)
    writers = await platform.query("""
        select xmin::text from order_service.orders union select xmin::text from order_service.order_items
        union select xmin::text from order_service.sagas union select xmin::text from order_service.order_events
        union select xmin::text from order_service.outbox union select xmin::text from order_service.create_requests
    """)
    assert len(writers) == 1


async def test_what_was_stored_is_what_was_answered(database: Database) -> None:
    items = (Item("teapot", 3, Money("BHD", 1_005)), Item("tea", 1, Money("BHD", 0)))
    asked = ask(items=items)

    ((answered, _),) = await create(database, asked)
    async with database.read() as work:
        stored = await work.orders.get([asked.order_id])

    assert stored == {asked.order_id: answered}


async def test_the_saga_starts_with_its_deadline_by_the_databases_clock(platform: Platform, database: Database) -> None:
    asked = ask(traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")

    await create(database, asked)
    async with database.read() as work:
        found = await work.sagas.get(asked.order_id)

    assert found is not None
    assert (found.saga.state, found.saga.steps) == (SagaState.RUNNING, {StepName.STOCK: StepState.ASKED})
    ((waits, trace),) = await platform.query("select deadline_at - started_at, traceparent from order_service.sagas")
    assert (waits, trace) == (TIMEOUTS[StepName.STOCK], asked.traceparent)
    assert found.saga.asked_at is not None
    assert abs(found.now - found.saga.asked_at) < timedelta(seconds=60)


async def test_the_outbox_holds_what_the_history_holds(platform: Platform, database: Database) -> None:
    asked = ask()

    await create(database, asked)

    columns = "order_id, version, event_id, type, occurred_at, traceparent, payload"
    (sent,) = await platform.query(f"select {columns} from order_service.outbox")
    (kept,) = await platform.query(f"select {columns} from order_service.order_events")
    assert sent == kept
    assert sent[:4] == (asked.order_id, 1, asked.event_id, "order.created")
    assert json.loads(sent[6])["total_price"] == 43.48
    assert await platform.query("select bucket from order_service.outbox") == [(bucket_of(asked.order_id),)]


async def test_if_anything_is_refused_nothing_is_stored(platform: Platform, database: Database) -> None:
    fits, does_not = ask(request_id="r"), ask(user_id="x" * 256, request_id="s")

    with pytest.raises(StorageRefused, match="check constraint"):
        await create(database, fits, does_not)

    assert await counts(platform) == rows_of(0)


async def test_a_batch_without_request_ids_stores_every_order(platform: Platform, database: Database) -> None:
    results = await create(database, *[ask(f"user {n % 3}") for n in range(500)])

    assert all(is_new for _, is_new in results)
    assert await counts(platform) == rows_of(500)


async def test_a_repeated_request_gets_the_first_answer(platform: Platform, database: Database) -> None:
    first = ask(request_id="r")
    ((original, _),) = await create(database, first)

    ((repeated, is_new),) = await create(database, again(first))

    assert (repeated, is_new) == (original, False)
    assert await counts(platform) == rows_of(1, requests=1)


async def test_a_request_id_with_other_content_is_refused_and_its_neighbours_are_not(
    platform: Platform, database: Database
) -> None:
    first = ask(request_id="r")
    await create(database, first)

    before, reused, after = await create(database, ask(request_id="s"), again(first, "other content"), ask())

    assert isinstance(reused[0], RequestIdReused)
    assert (before[1], reused[1], after[1]) == (True, False, True)
    assert await counts(platform) == rows_of(3, requests=2)


async def test_a_request_id_belongs_to_one_user(platform: Platform, database: Database) -> None:
    results = await create(database, ask("ada", "r"), ask("bob", "r"))

    assert [is_new for _, is_new in results] == [True, True]
    assert await counts(platform) == rows_of(2, requests=2)


async def test_a_request_that_is_repeated_within_a_batch_makes_one_order(
    platform: Platform, database: Database
) -> None:
    first = ask(request_id="r")

    results = await create(database, first, ask(), again(first), again(first))

    orders = [order_of(result) for result, _ in results]
    assert orders[0] == orders[2] == orders[3] != orders[1]
    assert sorted(is_new for _, is_new in (results[0], results[2], results[3])) == [False, False, True]
    assert await counts(platform) == rows_of(2, requests=1)


async def test_a_request_id_that_is_reused_within_a_batch_is_refused(platform: Platform, database: Database) -> None:
    first = ask(request_id="r")

    results = await create(database, first, again(first, "other content"))

    assert sorted(isinstance(result, RequestIdReused) for result, _ in results) == [False, True]
    assert await counts(platform) == rows_of(1, requests=1)


async def test_twenty_repeats_at_once_make_one_order(platform: Platform) -> None:
    first = ask(request_id="r")
    async with opened(platform.database_url, connections=20, seconds=30) as database:
        answers = await asyncio.gather(*[create(database, again(first)) for _ in range(20)])

    results = [result for ((result, _),) in answers]
    assert [order_of(result) for result in results] == [results[0]] * 20
    assert [is_new for ((_, is_new),) in answers].count(True) == 1
    assert await counts(platform) == rows_of(1, requests=1)


async def test_of_twenty_contents_under_one_request_id_at_once_one_is_taken(platform: Platform) -> None:
    first = ask(request_id="r")
    async with opened(platform.database_url, connections=20, seconds=30) as database:
        answers = await asyncio.gather(*[create(database, again(first, f"content {n}")) for n in range(20)])

    refused = [result for ((result, _),) in answers if isinstance(result, RequestIdReused)]
    assert len(refused) == 19
    assert await counts(platform) == rows_of(1, requests=1)


async def test_batches_with_the_same_requests_never_wait_for_each_other_in_a_circle(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("order_service.storage.database.MAX_ATTEMPTS", 1)

    for batch in range(3):
        claims = [CreateRequest("ada", f"{batch} {n}", "", uuid7()) for n in range(3_000)]
        won = await asyncio.gather(
            *[
                database.run(lambda work, claims=claims: work.create_requests.insert(claims))  # type: ignore[misc]
                for claims in (claims, claims[::-1]) * 2
            ]
        )
        assert sum(len(free) for free in won) == 3_000


@pytest.mark.parametrize("count", [2, 40])
async def test_batches_with_the_same_requests_in_another_order_make_each_order_once(
    platform: Platform, database: Database, count: int
) -> None:
    firsts = [ask(request_id=f"r{n}") for n in range(count)]

    batches = [firsts, firsts[::-1]] * 5
    answers = await asyncio.gather(*[create(database, *[again(one) for one in batch]) for batch in batches])

    assert sum(is_new for answer in answers for _, is_new in answer) == count
    assert await counts(platform) == rows_of(count, requests=count)


class Held:
    """A transaction that has created an order and waits before COMMIT."""

    def __init__(self, database: Database, asked: OrderToCreate) -> None:
        self._go = asyncio.Event()
        self._may_commit = True
        self.has_created = asyncio.Event()
        self.task = asyncio.create_task(database.run(lambda work: self._create(work, asked)))

    async def _create(self, work: UnitOfWork, asked: OrderToCreate) -> list[tuple[Result, bool]]:
        results = await create_orders(work, [asked], TIMEOUTS)
        await work.sagas.get(asked.order_id)
        self.has_created.set()
        await self._go.wait()
        if not self._may_commit:
            raise ZeroDivisionError
        return results

    async def commit(self) -> None:
        self._go.set()
        await self.task

    async def roll_back(self) -> None:
        self._may_commit = False
        self._go.set()
        await asyncio.wait([self.task])
        assert isinstance(self.task.exception(), ZeroDivisionError)


async def test_a_repeat_while_the_first_is_still_running_waits_for_its_answer(
    platform: Platform, database: Database
) -> None:
    first = ask(request_id="r")
    running = Held(database, first)
    await running.has_created.wait()
    repeat = asyncio.create_task(create(database, again(first)))
    await eventually(lambda: blocked(platform))

    await running.commit()
    ((answer, is_new),) = await repeat

    assert (order_of(answer).order_id, is_new) == (first.order_id, False)
    assert await counts(platform) == rows_of(1, requests=1)


async def test_a_repeat_of_a_first_that_fails_after_all_makes_the_order(platform: Platform, database: Database) -> None:
    first = ask(request_id="r")
    running = Held(database, first)
    await running.has_created.wait()
    second = again(first)
    repeat = asyncio.create_task(create(database, second))
    await eventually(lambda: blocked(platform))

    await running.roll_back()
    ((answer, is_new),) = await repeat

    assert (order_of(answer).order_id, is_new) == (second.order_id, True)
    assert await counts(platform) == rows_of(1, requests=1)


async def test_a_repeat_after_the_order_was_cancelled_gets_the_first_answer(
    platform: Platform, database: Database
) -> None:
    first = ask(request_id="r")
    ((original, _),) = await create(database, first)
    await make_due(platform, [first.order_id])
    await database.run(lambda work: stimulate(work, first.order_id, DeadlinePassed()))

    ((repeated, is_new),) = await create(database, again(first))

    assert (repeated, is_new) == (original, False)
    assert order_of(repeated).status is OrderStatus.PENDING
    assert await platform.query("select status from order_service.orders") == [("CANCELLED",)]


async def test_the_same_batch_once_more_stores_and_sends_nothing_again(platform: Platform, database: Database) -> None:
    batch = [ask(request_id="r"), ask(), ask("bob", "r")]
    first = await create(database, *batch)

    second = await create(database, *batch)

    assert second == first
    assert await counts(platform) == rows_of(3, requests=2)


async def test_the_same_batch_once_more_sends_nothing_again_that_was_sent_meanwhile(
    platform: Platform, database: Database
) -> None:
    batch = [ask(request_id="r"), ask()]
    first = await create(database, *batch)
    await platform.query("delete from order_service.outbox")

    second = await create(database, *batch)

    assert second == first
    assert await counts(platform) == rows_of(2, requests=1) | {"outbox": 0}


async def test_the_same_batch_once_more_does_not_set_back_what_has_happened_meanwhile(
    platform: Platform, database: Database
) -> None:
    batch = [ask(request_id="r")]
    await create(database, *batch)
    await make_due(platform, [batch[0].order_id])
    await database.run(lambda work: stimulate(work, batch[0].order_id, DeadlinePassed()))

    await create(database, *batch)

    assert await platform.query("select status, version from order_service.orders") == [("CANCELLED", 2)]
    assert await platform.query("select state, deadline_at from order_service.sagas") == [("UNDONE", None)]
    assert list((await histories(platform)).values()) == [["created", "cancelled"]]


async def test_a_transaction_whose_connection_is_killed_is_carried_out_again_once(
    platform: Platform, database: Database
) -> None:
    asked, attempts = ask(request_id="r"), 0

    async def create_and_lose_every_connection(work: UnitOfWork) -> list[tuple[Result, bool]]:
        nonlocal attempts
        attempts += 1
        results = await create_orders(work, [asked], TIMEOUTS)
        if attempts == 1:
            await work.orders.get([asked.order_id])
            await platform.query(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where datname = current_database() and pid <> pg_backend_pid()"
            )
        return results

    ((answer, is_new),) = await database.run(create_and_lose_every_connection)

    assert attempts == 2
    assert (order_of(answer).order_id, is_new) == (asked.order_id, True)
    assert await counts(platform) == rows_of(1, requests=1)


class CommitLosingProxy:
    """Stands between the service and PostgreSQL, and ends the connection at the first COMMITs: `before` PostgreSQL sees
    them, or after it has carried them out and before the service hears of it."""

    def __init__(self, before: bool, losses: int) -> None:
        self._before = before
        self._losses = losses
        self._serving: set[asyncio.Task[None]] = set()
        self.lost = 0

    @asynccontextmanager
    async def to(self, url: str) -> AsyncIterator[str]:
        """The URL that leads through it."""
        parts = urlsplit(url)
        self._target = parts.hostname, parts.port
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        credentials = parts.netloc.rpartition("@")[0]
        async with server:
            yield urlunsplit(parts._replace(netloc=f"{credentials}@127.0.0.1:{port}"))
            await asyncio.gather(*self._serving)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._serving.add(asyncio.create_task(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to_reader, to_writer = await asyncio.open_connection(*self._target)
        there = asyncio.create_task(self._pass(reader, to_writer, b"COMMIT" if self._before else None))
        back = asyncio.create_task(self._pass(to_reader, writer, None if self._before else b"COMMIT\0"))
        await asyncio.wait({there, back}, return_when=asyncio.FIRST_COMPLETED)
        for end in (to_writer, writer):
            end.transport.abort()
        await asyncio.gather(there, back, return_exceptions=True)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, lost: bytes | None) -> None:
        while data := await reader.read(1_000_000):
            if lost and lost in data and self.lost < self._losses:
                self.lost += 1
                return
            writer.write(data)
            await writer.drain()


@pytest.mark.parametrize("losses", [1, 2])
@pytest.mark.parametrize("before", [True, False], ids=["COMMIT is lost", "the reply to COMMIT is lost"])
async def test_an_order_whose_commit_was_not_heard_of_is_stored_and_sent_once(
    platform: Platform, before: bool, losses: int
) -> None:
    proxy = CommitLosingProxy(before, losses)
    batch = [ask(request_id="r"), ask()]

    async with proxy.to(platform.database_url) as url, opened(url, connections=2) as database:
        results = await create(database, *batch)

    assert proxy.lost == losses
    assert [order_of(result).order_id for result, _ in results] == [one.order_id for one in batch]
    assert await counts(platform) == rows_of(2, requests=1)


async def test_a_reply_to_commit_that_is_lost_while_the_relay_was_quick_sends_nothing_twice(
    platform: Platform,
) -> None:
    proxy = CommitLosingProxy(before=False, losses=1)
    attempts = 0
    asked = ask()

    async def create_after_the_relay(work: UnitOfWork) -> list[tuple[Result, bool]]:
        nonlocal attempts
        attempts += 1
        if attempts == 2:
            await platform.query("delete from order_service.outbox")
        return await create_orders(work, [asked], TIMEOUTS)

    async with proxy.to(platform.database_url) as url, opened(url, connections=2) as database:
        await database.run(create_after_the_relay)

    assert attempts == 2
    assert await counts(platform) == rows_of(1) | {"outbox": 0}
