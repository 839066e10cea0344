"""INVALID_ARGUMENT: every rule for what callers send, each bad field named, all of them at once."""

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from google.type.money_pb2 import Money

from order_service.pb import order_pb2
from tests.integration.calls import all_of, an_item, an_order, failure_of
from tests.integration.conftest import Shared
from tests.integration.platform import gateway

LONG = "x" * 256
DOLLAR = Money(currency_code="USD", units=1)

BAD_ORDERS = {
    "no user": (an_order(""), {"user_id"}),
    "the name of all users": (an_order("-"), {"user_id"}),
    "a user id of 256 characters": (an_order(LONG), {"user_id"}),
    "a user id with a control character": (an_order("a\nb"), {"user_id"}),
    "a request id of 256 characters": (an_order(request_id=LONG), {"request_id"}),
    "no items": (order_pb2.CreateOrderRequest(user_id="ada"), {"items"}),
    "1,001 items": (an_order("ada", *[an_item()] * 1_001), {"items"}),
    "no product": (an_order("ada", an_item("")), {"items[0].product_id"}),
    "a product id of 256 characters": (an_order("ada", an_item(LONG)), {"items[0].product_id"}),
    "a product id with a NUL": (an_order("ada", an_item("a\0")), {"items[0].product_id"}),
    "quantity 0": (an_order("ada", an_item(quantity=0)), {"items[0].quantity"}),
    "a negative quantity": (an_order("ada", an_item(quantity=-1)), {"items[0].quantity"}),
    "a negative price": (an_order("ada", an_item(price=-0.01)), {"items[0].price"}),
    "a price that is not a number": (an_order("ada", an_item(price=float("nan"))), {"items[0].price"}),
    "an infinite price": (an_order("ada", an_item(price=float("inf"))), {"items[0].price"}),
    "too many decimals": (an_order("ada", an_item(price=19.999)), {"items[0].price"}),
    "a price above the greatest": (an_order("ada", an_item(price=1e13)), {"items[0].price"}),
    "a total above the greatest": (an_order("ada", an_item(quantity=2, price=9_999_999_999_999.99)), {"items"}),
    "twins that disagree": (
        an_order("ada", order_pb2.OrderItem(product_id="tea", quantity=1, price=2.0, unit_price=DOLLAR)),
        {"items[0].unit_price"},
    ),
    "two currencies": (
        an_order(
            "ada",
            order_pb2.OrderItem(product_id="tea", quantity=1, unit_price=DOLLAR),
            order_pb2.OrderItem(product_id="cup", quantity=1, unit_price=Money(currency_code="EUR", units=1)),
        ),
        {"items[1].unit_price"},
    ),
    "everything at once": (
        an_order("", an_item("", 0, -1.0), an_item(), an_item(price=0.001), request_id="\x7f"),
        {"user_id", "request_id", "items[0].product_id", "items[0].quantity", "items[0].price", "items[2].price"},
    ),
}

A_TOKEN_OF_NOTHING = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
BAD_QUESTIONS: dict[str, tuple[Message, set[str]]] = {
    "an order id that is no UUID": (order_pb2.GetOrderRequest(order_id="7", user_id="ada"), {"order_id"}),
    "no ids at all": (order_pb2.GetOrderRequest(), {"order_id", "user_id"}),
    "a UUID in braces": (
        order_pb2.ExplainOrderRequest(order_id="{0198c2f0-0000-7000-8000-000000000000}", user_id="ada"),
        {"order_id"},
    ),
    "to watch nobody's order": (order_pb2.WatchOrderRequest(order_id="x", user_id="-"), {"order_id", "user_id"}),
    "a negative page": (order_pb2.ListOrdersRequest(user_id="ada", page_size=-1), {"page_size"}),
    "a token that is none": (order_pb2.ListOrdersRequest(user_id="ada", page_token="?"), {"page_token"}),
    "a made-up token": (order_pb2.ListOrdersRequest(user_id="ada", page_token=A_TOKEN_OF_NOTHING), {"page_token"}),
    "unknown statuses": (
        order_pb2.ListOrdersRequest(user_id="ada", statuses=[order_pb2.PENDING, 0, 99]),  # type: ignore[list-item]
        {"statuses[1]", "statuses[2]"},
    ),
    "history of no order": (
        order_pb2.ListOrderEventsRequest(order_id="?", page_size=-1, page_token="?"),
        {"order_id", "user_id", "page_size", "page_token"},
    ),
    "to cancel for two": (
        order_pb2.CancelOrderRequest(order_id="?", user_id="ada", staff_id="bob", reason="x" * 501),
        {"order_id", "user_id", "reason"},
    ),
    "to cancel for nobody": (
        order_pb2.CancelOrderRequest(order_id="0198c2f0-0000-7000-8000-000000000000"),
        {"user_id"},
    ),
    "an empty batch": (order_pb2.BatchCreateOrdersRequest(), {"requests"}),
    "a batch of 1,001": (order_pb2.BatchCreateOrdersRequest(requests=[an_order()] * 1_001), {"requests"}),
}


@pytest.mark.parametrize(("asked", "fields"), BAD_ORDERS.values(), ids=BAD_ORDERS.keys())
async def test_an_order_is_refused_for(shared: Shared, asked: order_pb2.CreateOrderRequest, fields: set[str]) -> None:
    async with gateway(shared.api) as stub:
        failure = await failure_of(stub.CreateOrder(asked))

    assert failure.code is grpc.StatusCode.INVALID_ARGUMENT
    assert (failure.info.domain, failure.info.reason) == ("order-service", "INVALID_REQUEST")
    assert failure.violations.keys() == fields
    assert all(failure.violations.values())


@pytest.mark.parametrize(("asked", "fields"), BAD_QUESTIONS.values(), ids=BAD_QUESTIONS.keys())
async def test_a_question_is_refused_for(shared: Shared, asked: Message, fields: set[str]) -> None:
    async with gateway(shared.api) as stub:
        failure = await failure_of(_call(stub, asked))

    assert failure.code is grpc.StatusCode.INVALID_ARGUMENT
    assert (failure.info.domain, failure.info.reason) == ("order-service", "INVALID_REQUEST")
    assert failure.violations.keys() == fields


async def test_a_token_is_good_only_for_the_question_it_was_made_for(shared: Shared, user: str) -> None:
    async with gateway(shared.api) as stub:
        for _ in range(2):
            await stub.CreateOrder(an_order(user))
        page = await stub.ListOrders(order_pb2.ListOrdersRequest(user_id=user, page_size=1))
        other = order_pb2.ListOrdersRequest(user_id=f"{user}2", page_size=1, page_token=page.next_page_token)
        failure = await failure_of(stub.ListOrders(other))

    assert page.next_page_token
    assert failure.violations.keys() == {"page_token"}


async def test_the_greatest_that_is_allowed_is_allowed(shared: Shared, user: str) -> None:
    longest = "é" * 255
    request = an_order(user, *[an_item(longest)] * 1_000, request_id=longest)

    async with gateway(shared.api) as stub:
        order = (await stub.CreateOrder(request)).order

    assert len(order.items) == 1_000
    assert order.items[0].product_id == longest


async def test_nothing_of_a_refused_order_is_stored(shared: Shared, user: str) -> None:
    async with gateway(shared.api) as stub:
        await failure_of(stub.CreateOrder(an_order(user, an_item(), an_item(quantity=0), request_id="once")))
        listed = await stub.ListOrders(order_pb2.ListOrdersRequest(user_id=user))
        mended = await stub.CreateOrder(an_order(user, request_id="once"))

    assert not listed.orders
    assert mended.order.user_id == user


def _call(stub: Any, request: Message) -> Awaitable[Any]:
    """The RPC that takes a message of this kind."""
    method: Callable[[Message], Any] = getattr(stub, request.DESCRIPTOR.name.removesuffix("Request"))
    call = method(request)
    return all_of(call) if isinstance(request, order_pb2.WatchOrderRequest) else call
