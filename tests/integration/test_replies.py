"""Replies that come at the wrong time, twice, for nobody, or as rubbish, through the broker."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest

from order_service.domain.money import Money
from order_service.domain.order import Item, NewOrder
from order_service.pb import order_pb2
from order_service.saga.order_saga import StepName
from order_service.storage.database import Database
from order_service.use_cases.create_orders import OrderToCreate, create_orders
from tests.integration.calls import an_order
from tests.integration.conftest import Shared
from tests.integration.held_back import held_back
from tests.integration.peers import Body, Recorder, StockService, no_answer
from tests.integration.platform import Platform, gateway
from tests.waiting import eventually

CREATED, CONFIRMED, CANCELLED, RELEASED = (
    "order.created",
    "order.confirmed",
    "order.cancelled",
    "order.stock_release_requested",
)


@pytest.fixture(scope="module")
def shared(shared_platform: Platform) -> Shared:
    """A worker that gives up on replies for unknown orders within seconds."""
    return Shared(shared_platform, *asyncio.run(shared_platform.start_both(REPLY_RETRY_FOR="2s")))


@dataclass(frozen=True, slots=True)
class Talk:
    """A conversation about one order at a time, with the stock service's lines in the test's hands."""

    platform: Platform
    stub: Any
    stock: StockService
    recorder: Recorder
    user: str

    @classmethod
    @asynccontextmanager
    async def with_(cls, shared: Shared, user: str) -> AsyncIterator["Talk"]:
        async with (
            StockService.running(shared.platform, no_answer) as stock,
            Recorder.running(shared.platform) as recorder,
            gateway(shared.api) as stub,
        ):
            yield cls(shared.platform, stub, stock, recorder, user)

    async def order(self) -> str:
        """A new order whose OrderCreated has reached the stock service."""
        order_id: str = (await self.stub.CreateOrder(an_order(self.user))).order.id
        await eventually(lambda: self.recorder.types_of(order_id))
        return order_id

    async def success(self, order_id: str, headers: Body | None = None, **more: Any) -> None:
        await self.stock.reply({"order_id": order_id, "success": True, **more}, **(headers or {}))

    async def failure(self, order_id: str, **more: Any) -> None:
        await self.stock.reply({"order_id": order_id, "success": False, **more})

    async def cancel(self, order_id: str) -> None:
        await self.stub.CancelOrder(order_pb2.CancelOrderRequest(order_id=order_id, user_id=self.user))

    async def let_deadline_pass(self, order_id: str) -> None:
        await self.platform.query("update order_service.sagas set deadline_at = now() where order_id = %s", order_id)

    async def get(self, order_id: str) -> order_pb2.Order:
        found: order_pb2.GetOrderResponse = await self.stub.GetOrder(
            order_pb2.GetOrderRequest(order_id=order_id, user_id=self.user)
        )
        return found.order

    async def events(self, order_id: str, count: int) -> list[str]:
        """The types of an order's events, once there are so many of them."""
        await eventually(lambda: len(self.recorder.types_of(order_id)) >= count)
        return self.recorder.types_of(order_id)

    async def until_heard(self) -> None:
        """Returns when all that was replied before has had its effect: the queue is in order."""
        order_id = await self.order()
        await self.success(order_id)
        await self.events(order_id, 2)

    async def parked(self, body: bytes) -> list[dict[str, Any]]:
        """What is parked with these bytes, oldest first."""
        columns = ("source", "reason_code", "reason", "order_id", "headers", "retry_at")
        rows = await self.platform.query(
            f"select {', '.join(columns)} from order_service.parked_messages where body = %s order by parked_id", body
        )
        return [dict(zip(columns, row, strict=True)) for row in rows]


@pytest.fixture
async def talk(shared: Shared, user: str) -> AsyncIterator[Talk]:
    async with Talk.with_(shared, user) as talk:
        yield talk


def replies(shared: Shared, outcome: str) -> float:
    """How many replies the worker has counted under an outcome."""
    return shared.worker.metric("order_service_replies_total", step="stock", outcome=outcome)


async def counted(shared: Shared, outcome: str, least: float) -> float:
    """The same once it is so many: the worker counts after it has committed, when others may see the effect."""
    await eventually(lambda: replies(shared, outcome) >= least)
    return replies(shared, outcome)


@pytest.mark.parametrize("success", [True, False])
async def test_the_same_again_changes_nothing_and_is_counted(shared: Shared, talk: Talk, success: bool) -> None:
    before = replies(shared, "duplicate")
    order_id = await talk.order()

    for _ in range(3):
        await talk.stock.reply({"order_id": order_id, "success": success})
    await talk.until_heard()

    assert talk.recorder.types_of(order_id) == [CREATED, CONFIRMED if success else CANCELLED]
    assert await counted(shared, "duplicate", before + 2) == before + 2


@pytest.mark.parametrize("success", [True, False])
async def test_the_same_in_other_words_changes_nothing_either(talk: Talk, success: bool) -> None:
    order_id = await talk.order()

    for place in range(3):
        await talk.stock.reply({"order_id": order_id, "success": success, "sent_at": place})
    await talk.until_heard()

    assert talk.recorder.types_of(order_id) == [CREATED, CONFIRMED if success else CANCELLED]


async def test_a_success_after_the_deadline_releases_the_stock_exactly_once(shared: Shared, talk: Talk) -> None:
    before = replies(shared, "late")
    order_id = await talk.order()
    await talk.let_deadline_pass(order_id)
    await talk.events(order_id, 2)

    await talk.success(order_id)
    await talk.success(order_id)
    await talk.success(order_id, again=True)
    await talk.until_heard()

    order = await talk.get(order_id)
    assert await talk.events(order_id, 3) == [CREATED, CANCELLED, RELEASED]
    assert (order.status, order.status_reason.code) == (order_pb2.CANCELLED, "STOCK_TIMEOUT")
    assert await counted(shared, "late", before + 1) == before + 1


async def test_a_success_after_the_cancellation_releases_the_stock_exactly_once(talk: Talk) -> None:
    order_id = await talk.order()
    await talk.cancel(order_id)

    await talk.success(order_id)
    await talk.success(order_id, again=True)
    await talk.until_heard()

    assert await talk.events(order_id, 3) == [CREATED, CANCELLED, RELEASED]
    assert (await talk.get(order_id)).status == order_pb2.CANCELLED


async def test_a_success_after_an_earlier_failure_releases_the_stock_exactly_once(talk: Talk) -> None:
    order_id = await talk.order()
    await talk.failure(order_id, reason="none left")

    await talk.success(order_id)
    await talk.success(order_id, again=True)
    await talk.until_heard()

    order = await talk.get(order_id)
    assert await talk.events(order_id, 3) == [CREATED, CANCELLED, RELEASED]
    assert (order.status_reason.code, order.status_reason.message) == ("STOCK_REFUSED", "none left")


async def test_a_failure_after_the_confirmation_is_ignored_counted_and_warned_of(shared: Shared, talk: Talk) -> None:
    before = replies(shared, "ignored")
    order_id = await talk.order()
    await talk.success(order_id)

    await talk.failure(order_id)
    await talk.until_heard()

    assert await talk.events(order_id, 2) == [CREATED, CONFIRMED]
    assert (await talk.get(order_id)).status == order_pb2.CONFIRMED
    assert await counted(shared, "ignored", before + 1) == before + 1
    (*_, told) = await eventually(lambda: shared.worker.log_lines("consumer.reply_ignored"))
    assert told["level"] == "warning"


async def test_a_failure_after_the_deadline_changes_nothing(talk: Talk) -> None:
    order_id = await talk.order()
    await talk.let_deadline_pass(order_id)
    await talk.events(order_id, 2)

    await talk.failure(order_id, reason="too late")
    await talk.until_heard()

    assert talk.recorder.types_of(order_id) == [CREATED, CANCELLED]
    assert (await talk.get(order_id)).status_reason.code == "STOCK_TIMEOUT"


@pytest.mark.parametrize("more", [{}, {"reason": None}, {"reason": ""}])
async def test_without_success_a_reply_is_a_failure(talk: Talk, more: Body) -> None:
    order_id = await talk.order()

    await talk.stock.reply({"order_id": order_id, **more})
    await talk.events(order_id, 2)

    order = await talk.get(order_id)
    assert (order.status, order.status_reason.code) == (order_pb2.CANCELLED, "STOCK_REFUSED")


async def test_fields_that_are_not_known_are_no_hindrance(talk: Talk) -> None:
    order_id = await talk.order()

    await talk.success(order_id, warehouse={"id": 7, "shelves": [1, 2]}, Success=False)

    assert await talk.events(order_id, 2) == [CREATED, CONFIRMED]


async def test_a_reply_for_an_unknown_order_is_retried_and_then_left_to_an_operator(shared: Shared, talk: Talk) -> None:
    body = json.dumps({"order_id": str(uuid4()), "success": True}).encode()

    await talk.stock.send(body, headers={"traceparent": "text"})
    retried = await eventually(lambda: talk.parked(body))
    left = await eventually(lambda: parked_for_good(talk, body))

    assert retried[0]["retry_at"] > datetime.now(UTC) - timedelta(seconds=10)
    assert [(one["source"], one["reason_code"]) for one in left] == [("StockUpdateResult", "UNKNOWN_ORDER")]
    assert left[0]["headers"] == {"traceparent": "text"}
    labels = {"direction": "IN", "reason_code": "UNKNOWN_ORDER"}
    await eventually(lambda: shared.worker.metric("order_service_parked_total", **labels) == 1)


async def test_a_reply_that_overtakes_its_order_is_applied_when_the_order_is_there(
    platform: Platform, user: str
) -> None:
    """With a worker that does not give up before the order is there, however slow the machine."""
    order_id = uuid4()
    body = json.dumps({"order_id": str(order_id), "success": True}).encode()
    patient = Shared(platform, *await platform.start_both(REPLY_RETRY_FOR="10m"))

    async with Talk.with_(patient, user) as talk:
        await talk.stock.send(body)
        await eventually(lambda: talk.parked(body))
        await store(talk.platform, order_id, talk.user)
        events = await talk.events(str(order_id), 2)

    assert events == [CREATED, CONFIRMED]
    assert await talk.parked(body) == []


POISON = {
    "not JSON": b"success",
    "half a message": b'{"order_id": "',
    "a list": b"[]",
    "text": b'"0198c2f0-0000-7000-8000-000000000000"',
    "no order id": b'{"success": true}',
    "an order id that is no UUID": b'{"order_id": "7", "success": true}',
    "a number for an order id": b'{"order_id": 7, "success": true}',
    "success as text": b'{"order_id": "0198c2f0-0000-7000-8000-000000000000", "success": "true"}',
    "success as a number": b'{"order_id": "0198c2f0-0000-7000-8000-000000000000", "success": 1}',
    "a reason that is none": b'{"order_id": "0198c2f0-0000-7000-8000-000000000000", "reason": ["none left"]}',
    "two messages": b'{"order_id": "0198c2f0-0000-7000-8000-000000000000"}{}',
    "nothing": b"",
    "no UTF-8": b'{"order_id": "\xff\xfe"}',
    "NULs": b"\0" * 10,
    "5 MB": b'{"order_id": "' + b"x" * 5_000_000 + b'"}',
    "60,000 brackets": b"[" * 60_000,
    "100,000 brackets": b"[" * 100_000,
    "deep in a field that is not known": b'{"order_id": "0198c2f0-0000-7000-8000-000000000000", "more": '
    + b"[" * 30_000
    + b"]" * 30_000
    + b"}",
}


@pytest.mark.parametrize("body", POISON.values(), ids=POISON.keys())
async def test_what_cannot_be_read_is_parked_and_stops_nothing(talk: Talk, body: bytes) -> None:
    before, after = await talk.order(), await talk.order()
    earlier = len(await talk.parked(body))

    await talk.success(before)
    await talk.stock.send(body, headers={"x-kind": "poison"})
    await talk.success(after)
    await talk.events(before, 2)
    await talk.events(after, 2)
    parked = (await eventually(lambda: talk.parked(body)))[earlier:]

    assert [(one["source"], one["reason_code"], one["retry_at"]) for one in parked] == [
        ("StockUpdateResult", "UNREADABLE", None)
    ]
    assert parked[0]["reason"]
    assert parked[0]["headers"] == {"x-kind": "poison"}


async def test_messages_that_are_alike_to_the_byte_are_all_kept(talk: Talk) -> None:
    body = b"alike " + uuid4().bytes

    await talk.stock.send(body)
    await eventually(lambda: talk.parked(body))
    await talk.stock.send(body)
    await talk.stock.send(body)
    await talk.until_heard()

    assert len(await talk.parked(body)) == 3


async def test_of_a_batch_that_the_database_refuses_only_the_culprit_is_parked(talk: Talk) -> None:
    order_ids = [await talk.order() for _ in range(8)]
    culprit = order_ids[5]
    await talk.platform.query(
        "create or replace function order_service.refuse() returns trigger language plpgsql as"
        f" $$ begin if new.order_id = '{culprit}' then raise exception 'no such thing'; end if; return new; end $$"
    )
    await talk.platform.query(
        "create or replace trigger refuse before update on order_service.orders"
        " for each row execute function order_service.refuse()"
    )

    async with held_back(talk.platform, "inbox") as waiting:
        for order_id in order_ids:
            await talk.success(order_id)
        await eventually(lambda: waiting(1))
    for order_id in set(order_ids) - {culprit}:
        await talk.events(order_id, 2)
    parked = await eventually(lambda: talk.parked(json.dumps({"order_id": culprit, "success": True}).encode()))

    assert [(one["reason_code"], one["retry_at"]) for one in parked] == [("REFUSED_BY_DATABASE", None)]
    assert "no such thing" in parked[0]["reason"]
    assert talk.recorder.types_of(culprit) == [CREATED]


async def test_headers_of_any_kind_are_kept(talk: Talk) -> None:
    body = b"headers " + uuid4().bytes
    headers: dict[str, Any] = {
        "text": "é\u2028",
        "nul": "a\0b",
        "bytes": bytearray(b"\xff\x00"),
        "number": 2**40,
        "fraction": 0.5,
        "decimal": Decimal("1.50"),
        "yes": True,
        "nothing": None,
        "at": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        "list": [1, "two", [3]],
        "table": {"x-death": [{"count": 3, "reason": "rejected"}]},
        "traceparent": 7,
    }

    await talk.stock.send(body, headers=headers, message_id="x" * 200, content_type="text/plain")
    (parked,) = await eventually(lambda: talk.parked(body))

    kept = parked["headers"]
    assert kept.keys() == headers.keys()
    assert {name: kept[name] for name in ("text", "nul", "number", "yes", "nothing", "list", "table")} == {
        "text": "é\u2028",
        "nul": "ab",
        "number": 2**40,
        "yes": True,
        "nothing": None,
        "list": [1, "two", [3]],
        "table": {"x-death": [{"count": 3, "reason": "rejected"}]},
    }
    assert kept["bytes"] == {"base64": "/wA="}
    assert "2026" in kept["at"]


@pytest.mark.parametrize("traceparent", [7, bytearray(b"\xff"), "00-zz", "x" * 10_000, ["list"], None])
async def test_a_reply_is_applied_whatever_its_trace_header_is(talk: Talk, traceparent: Any) -> None:
    order_id = await talk.order()

    await talk.success(order_id, headers={"traceparent": traceparent})

    assert await talk.events(order_id, 2) == [CREATED, CONFIRMED]


@pytest.mark.parametrize("as_bytes", [False, True])
async def test_the_trace_of_a_reply_goes_on_in_the_event_it_causes(talk: Talk, as_bytes: bool) -> None:
    order_id = await talk.order()
    trace_id = uuid4().hex
    traceparent = f"00-{trace_id}-b7ad6b7169203331-01"

    await talk.success(order_id, headers={"traceparent": bytearray(traceparent.encode()) if as_bytes else traceparent})
    await talk.events(order_id, 2)

    (confirmed,) = [
        message
        for message in talk.recorder.messages
        if message.type == CONFIRMED and message.headers["ce-subject"] == order_id
    ]
    assert str(confirmed.headers["traceparent"]).split("-")[1] == trace_id


async def test_a_reason_of_any_length_and_kind_is_kept_as_far_as_it_goes(talk: Talk) -> None:
    order_id = await talk.order()

    await talk.failure(order_id, reason="none\0 left " + "é" * 2_000)
    await talk.events(order_id, 2)

    message = (await talk.get(order_id)).status_reason.message
    assert message == ("none left " + "é" * 2_000)[:500]


async def parked_for_good(talk: Talk, body: bytes) -> list[dict[str, Any]]:
    """What is parked and no longer retried."""
    return [one for one in await talk.parked(body) if one["retry_at"] is None]


async def store(platform: Platform, order_id: UUID, user: str) -> None:
    """Stores an order under an id of the test's choice, as an api does."""
    database = Database(platform.database_url, 1, timedelta(seconds=30), "test")
    await database.open()
    new = NewOrder(user, (Item("tea", 1, Money("USD", 100)),), Money("USD", 100))
    ask = OrderToCreate(new, order_id, uuid4(), datetime.now(UTC))
    await database.run(lambda work: create_orders(work, [ask], {StepName.STOCK: timedelta(minutes=1)}))
    await database.close()
