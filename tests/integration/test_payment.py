"""The saga with its payment step (SAGA_PAYMENT=on)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from order_service.pb import order_pb2
from tests.integration.calls import an_item, an_order
from tests.integration.conftest import Shared
from tests.integration.peers import Answer, Body, PaymentService, Recorder, StockService, no_answer, refusal, success
from tests.integration.platform import Platform, gateway
from tests.waiting import eventually

CREATED, ASKED, CONFIRMED, CANCELLED = "order.created", "order.payment_requested", "order.confirmed", "order.cancelled"
REFUNDED, RELEASED = "order.payment_refund_requested", "order.stock_release_requested"


@pytest.fixture(scope="module")
def shared(shared_platform: Platform) -> Shared:
    """With the payment step."""
    return Shared(shared_platform, *asyncio.run(shared_platform.start_both(SAGA_PAYMENT="on")))


@dataclass(frozen=True, slots=True)
class Shop:
    """A stock service that has everything, a payment service that answers as told, and what one order goes through."""

    platform: Platform
    stub: Any
    stock: StockService
    payment: PaymentService
    recorder: Recorder
    user: str

    @classmethod
    @asynccontextmanager
    async def open(cls, shared: Shared, user: str, pay: Answer, stock: Answer = success) -> AsyncIterator["Shop"]:
        platform = shared.platform
        async with (
            StockService.running(platform, stock) as stocked,
            PaymentService.running(platform, pay) as paying,
            Recorder.running(platform) as recorder,
            gateway(shared.api) as stub,
        ):
            yield cls(platform, stub, stocked, paying, recorder, user)

    async def order(self) -> str:
        """A new order of 39.98 dollars."""
        request = an_order(self.user, an_item("tea", 2, 19.99))
        order_id: str = (await self.stub.CreateOrder(request)).order.id
        return order_id

    async def events(self, order_id: str, count: int) -> list[str]:
        """The types of an order's events, once there are so many of them."""
        await eventually(lambda: len(self.recorder.types_of(order_id)) >= count)
        return self.recorder.types_of(order_id)

    async def until_heard(self) -> None:
        """Returns when all that was replied before has had its effect: the queue is in order."""
        order_id = await self.order()
        await self.events(order_id, 2)
        await self.payment.reply({"order_id": order_id, "success": True})
        await self.events(order_id, 3)

    async def get(self, order_id: str) -> order_pb2.Order:
        found: order_pb2.GetOrderResponse = await self.stub.GetOrder(
            order_pb2.GetOrderRequest(order_id=order_id, user_id=self.user)
        )
        return found.order


async def test_stock_then_payment_then_confirmed(shared: Shared, user: str) -> None:
    async with Shop.open(shared, user, success) as shop:
        order_id = await shop.order()
        events = await shop.events(order_id, 3)
        order = await shop.get(order_id)
        asked = [body for body in shop.payment.asked if body["order_id"] == order_id]

    assert events == [CREATED, ASKED, CONFIRMED]
    assert order.status == order_pb2.CONFIRMED
    assert [(body["amount"], body["currency"], body["version"], body["status"]) for body in asked] == [
        (39.98, "USD", 2, "PENDING")
    ]


async def test_without_stock_no_payment_is_asked_for(shared: Shared, user: str) -> None:
    async with Shop.open(shared, user, success, stock=refusal) as shop:
        order_id = await shop.order()
        events = await shop.events(order_id, 2)
        asked = [body for body in shop.payment.asked if body["order_id"] == order_id]

    assert events == [CREATED, CANCELLED]
    assert asked == []


async def test_a_refused_payment_cancels_and_releases_the_stock(shared: Shared, user: str) -> None:
    def no_money(asked: Body) -> Body:
        return {"order_id": asked["order_id"], "reason": "no money"}

    async with Shop.open(shared, user, no_money) as shop:
        order_id = await shop.order()
        events = await shop.events(order_id, 4)
        order = await shop.get(order_id)

    assert events == [CREATED, ASKED, CANCELLED, RELEASED]
    assert (order.status_reason.code, order.status_reason.message) == ("PAYMENT_REFUSED", "no money")


async def test_a_payment_that_comes_too_late_is_refunded_once(shared: Shared, user: str) -> None:
    async with Shop.open(shared, user, no_answer) as shop:
        order_id = await shop.order()
        await shop.events(order_id, 2)
        await shop.platform.query("update order_service.sagas set deadline_at = now() where order_id = %s", order_id)
        after_deadline = await shop.events(order_id, 4)
        reason = (await shop.get(order_id)).status_reason.code
        for place in range(2):
            await shop.payment.reply({"order_id": order_id, "success": True, "place": place})
        events = await shop.events(order_id, 5)
        refunds = await eventually(lambda: shop.payment.undone_of(order_id))
        await shop.until_heard()

    assert after_deadline == [CREATED, ASKED, CANCELLED, RELEASED]
    assert reason == "PAYMENT_TIMEOUT"
    assert events == [CREATED, ASKED, CANCELLED, RELEASED, REFUNDED]
    assert [(refund["amount"], refund["version"]) for refund in refunds] == [(39.98, 5)]
    assert shop.recorder.types_of(order_id) == events


async def test_cancelling_a_confirmed_order_refunds_and_then_releases(shared: Shared, user: str) -> None:
    async with Shop.open(shared, user, success) as shop:
        order_id = await shop.order()
        await shop.events(order_id, 3)
        await shop.stub.CancelOrder(order_pb2.CancelOrderRequest(order_id=order_id, user_id=user))
        events = await shop.events(order_id, 6)

    assert events == [CREATED, ASKED, CONFIRMED, CANCELLED, REFUNDED, RELEASED]


async def test_cancelling_while_the_payment_is_under_way_releases_now_and_refunds_later(
    shared: Shared, user: str
) -> None:
    async with Shop.open(shared, user, no_answer) as shop:
        order_id = await shop.order()
        await shop.events(order_id, 2)
        await shop.stub.CancelOrder(order_pb2.CancelOrderRequest(order_id=order_id, user_id=user))
        before = await shop.events(order_id, 4)
        await shop.payment.reply({"order_id": order_id, "success": True})
        after = await shop.events(order_id, 5)

    assert before == [CREATED, ASKED, CANCELLED, RELEASED]
    assert after == [*before, REFUNDED]


async def test_a_payment_for_a_step_that_was_not_asked_yet_changes_nothing(shared: Shared, user: str) -> None:
    async with Shop.open(shared, user, success, stock=no_answer) as shop:
        order_id = await shop.order()
        await shop.payment.reply({"order_id": order_id, "success": True, "early": True})
        await eventually(
            lambda: shared.worker.metric("order_service_replies_total", step="payment", outcome="ignored") == 1
        )
        early = await shop.get(order_id)
        await shop.stock.reply({"order_id": order_id, "success": True})
        events = await shop.events(order_id, 3)

    assert early.status == order_pb2.PENDING
    assert events == [CREATED, ASKED, CONFIRMED]


async def test_each_step_is_explained(shared: Shared, user: str) -> None:
    async with Shop.open(shared, user, no_answer) as shop:
        order_id = await shop.order()
        await shop.events(order_id, 2)
        told = await shop.stub.ExplainOrder(order_pb2.ExplainOrderRequest(order_id=order_id, user_id=user))

    assert told.waiting_for == "PaymentResult"
    assert [(step.name, step.state) for step in told.steps] == [("stock", "HELD"), ("payment", "ASKED")]
