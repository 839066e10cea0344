"""Every rule for what callers send: what is right becomes what is meant, and all that is wrong is told at once."""

import base64
import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from google.type.money_pb2 import Money as MoneyProto
from hypothesis import given, settings
from hypothesis import strategies as st

from order_service.api.answers import order_answer
from order_service.api.requests import (
    MAX_BATCH,
    batch_requests,
    cancellation,
    events_page,
    events_token,
    new_order,
    orders_page,
    orders_token,
    wanted,
)
from order_service.domain.errors import InvalidRequest
from order_service.domain.money import MAX_MINOR, Money, from_double
from order_service.domain.order import MAX_ITEMS, Item, NewOrder, Order
from order_service.domain.status import Actor, OrderStatus
from order_service.pb import order_pb2
from order_service.use_cases.read_orders import ANY_USER, Wanted

ORDER_ID = UUID("0198f2c0-7b3a-7c11-9d5e-2f1a3b4c5d6f")
NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
CONTROL_CHARACTERS = ["\0", "\n", "\x1b", "\x7f", "\x85", "\x9f"]
TOO_LONG = "x" * 256


def item(product_id: str = "tea", quantity: int = 1, **fields: Any) -> order_pb2.OrderItem:
    return order_pb2.OrderItem(product_id=product_id, quantity=quantity, **fields)


def dollars(units: int, nanos: int = 0) -> MoneyProto:
    return MoneyProto(currency_code="USD", units=units, nanos=nanos)


def ask(*items: order_pb2.OrderItem, user_id: str = "ada", request_id: str = "") -> NewOrder:
    request = order_pb2.CreateOrderRequest(user_id=user_id, items=items, request_id=request_id)
    return new_order(request, "USD")


def told(refused: Callable[[], object]) -> list[tuple[str, str]]:
    """The fields that are wrong, and why."""
    with pytest.raises(InvalidRequest) as raised:
        refused()
    return [(violation.field, violation.description) for violation in raised.value.violations]


def test_an_order_is_priced_exactly_and_its_items_sorted_by_product() -> None:
    order = ask(item("tea", 3, price=19.99), item("cup", 2, price=0.1), user_id="ada")

    assert order.user_id == "ada"
    assert order.items == (Item("cup", 2, Money("USD", 10)), Item("tea", 3, Money("USD", 1999)))
    assert order.total == Money("USD", 6017)


def test_a_price_of_nothing_is_a_price() -> None:
    assert ask(item(), item(price=-0.0)).total == Money("USD", 0)


@pytest.mark.parametrize("text", ["ada@example.org", "ünïcödé ☕", "a b", "x" * 255, "\u200b", "\ud7ff", "'; drop"])
def test_ids_may_have_any_characters_but_control_characters(text: str) -> None:
    order = ask(item(text), user_id=text, request_id=text)

    assert (order.user_id, order.request_id, order.items[0].product_id) == (text, text, text)


@pytest.mark.parametrize("bad", [TOO_LONG, *CONTROL_CHARACTERS])
@pytest.mark.parametrize("field", ["user_id", "request_id", "items[0].product_id"])
def test_an_id_that_is_too_long_or_has_a_control_character_is_refused(field: str, bad: str) -> None:
    values = {"user_id": "ada", "request_id": "r", "items[0].product_id": "tea", field: bad}

    wrong = told(
        lambda: ask(item(values["items[0].product_id"]), user_id=values["user_id"], request_id=values["request_id"])
    )

    why = "must have at most 255 characters" if bad == TOO_LONG else "must not have control characters"
    assert wrong == [(field, why)]


@pytest.mark.parametrize(
    ("items", "user_id", "wrong"),
    [
        ([item()], "", ("user_id", "must not be empty")),
        ([item()], "-", ("user_id", "must not be '-', which stands for all users")),
        ([], "ada", ("items", "must have at least one item")),
        ([item("")], "ada", ("items[0].product_id", "must not be empty")),
        ([item(quantity=0)], "ada", ("items[0].quantity", "must be at least 1")),
        ([item(quantity=-(2**31))], "ada", ("items[0].quantity", "must be at least 1")),
        ([item(price=-0.01)], "ada", ("items[0].price", "must not be negative")),
        ([item(price=math.nan)], "ada", ("items[0].price", "must be a finite number")),
        ([item(price=math.inf)], "ada", ("items[0].price", "must be a finite number")),
        ([item(price=0.1 + 0.2)], "ada", ("items[0].price", "has more than the 2 decimals of USD")),
        ([item(price=1e300)], "ada", ("items[0].price", "is above the greatest amount, 9999999999999.99 USD")),
        ([item(unit_price=dollars(-1))], "ada", ("items[0].unit_price", "must not be negative")),
        ([item(unit_price=dollars(0, 1))], "ada", ("items[0].unit_price", "has more than the 2 decimals of USD")),
        (
            [item(unit_price=MoneyProto(units=1))],
            "ada",
            ("items[0].unit_price", "is not an ISO 4217 currency that money is counted in"),
        ),
        (
            [item(unit_price=MoneyProto(currency_code="XAU", units=1))],
            "ada",
            ("items[0].unit_price", "is not an ISO 4217 currency that money is counted in"),
        ),
        ([item(price=2, unit_price=dollars(1))], "ada", ("items[0].unit_price", "disagrees with price")),
        ([item(price=math.nan, unit_price=dollars(1))], "ada", ("items[0].price", "must be a finite number")),
        ([item(price=1.001, unit_price=dollars(1))], "ada", ("items[0].price", "has more than the 2 decimals of USD")),
        (
            [item(unit_price=dollars(1)), item(unit_price=MoneyProto(currency_code="EUR", units=1))],
            "ada",
            ("items[1].unit_price", "must have the currency of the other items"),
        ),
        (
            [item(price=1.5), item(unit_price=MoneyProto(currency_code="JPY", units=1))],
            "ada",
            ("items[0].price", "has more than the 0 decimals of JPY"),
        ),
        ([item(quantity=2, price=MAX_MINOR // 100)], "ada", ("items", "the total is above the greatest amount")),
        ([item()] * (MAX_ITEMS + 1), "ada", ("items", f"must have at most {MAX_ITEMS} items")),
    ],
    ids=lambda value: "-".join(value).replace(" ", "_")[:70] if isinstance(value, tuple) else "",
)
def test_a_bad_field_is_named(items: list[order_pb2.OrderItem], user_id: str, wrong: tuple[str, str]) -> None:
    assert told(lambda: ask(*items, user_id=user_id)) == [wrong]


def test_everything_that_is_wrong_is_told_at_once() -> None:
    wrong = told(
        lambda: ask(
            item("tea", 1, price=1),
            item("", 0, price=-1),
            item("cup\n", 1, price=1, unit_price=dollars(2)),
            item("pot", -1, unit_price=MoneyProto(currency_code="EUR", units=1)),
            user_id="",
            request_id=TOO_LONG,
        )
    )

    assert [field for field, _ in wrong] == [
        "user_id",
        "request_id",
        "items[1].product_id",
        "items[1].quantity",
        "items[1].price",
        "items[2].product_id",
        "items[2].unit_price",
        "items[3].quantity",
        "items[3].unit_price",
    ]


def test_as_many_items_as_allowed_are_taken_and_of_too_many_none_is_looked_into() -> None:
    assert len(ask(*[item(price=1)] * MAX_ITEMS).items) == MAX_ITEMS
    assert [field for field, _ in told(lambda: ask(*[item("")] * (MAX_ITEMS + 1), user_id=""))] == ["user_id", "items"]


def test_the_greatest_total_is_taken_and_one_cent_more_is_not() -> None:
    order = ask(item(price=(MAX_MINOR - 1) / 100), item(price=0.01))

    assert order.total == Money("USD", MAX_MINOR)
    assert told(lambda: ask(item(price=MAX_MINOR / 100), item(price=0.01))) == [
        ("items", "the total is above the greatest amount")
    ]


@pytest.mark.parametrize(
    "priced",
    [
        {"price": 19.99},
        {"unit_price": dollars(19, 990_000_000)},
        {"price": 19.99, "unit_price": dollars(19, 990_000_000)},
        {"price": 0.0, "unit_price": dollars(19, 990_000_000)},
    ],
    ids=["double", "money", "both", "money and a double of 0"],
)
def test_a_price_may_be_sent_in_either_form_or_in_both(priced: dict[str, Any]) -> None:
    assert ask(item(**priced)).items == (Item("tea", 1, Money("USD", 1999)),)


def test_the_currency_of_one_item_is_that_of_all() -> None:
    order = ask(item("cup", price=2.0), item("tea", unit_price=MoneyProto(currency_code="EUR", units=1)))

    assert [line.unit_price for line in order.items] == [Money("EUR", 200), Money("EUR", 100)]
    assert order.total == Money("EUR", 300)


def test_an_order_without_a_currency_has_the_default_one() -> None:
    request = order_pb2.CreateOrderRequest(user_id="ada", items=[item(price=100)])

    assert new_order(request, "JPY").total == Money("JPY", 100)


lines = st.lists(
    st.tuples(st.sampled_from(["tea", "cup", "pot"]), st.integers(1, 3), st.integers(0, 2)), min_size=1, max_size=6
)


@settings(deadline=None, max_examples=40)
@given(lines, st.randoms(use_true_random=False))
def test_the_fingerprint_does_not_depend_on_the_order_of_the_items(
    content: list[tuple[str, int, int]], random: Any
) -> None:
    items = [item(product, quantity, price=price) for product, quantity, price in content]
    shuffled = random.sample(items, len(items))

    one, other = ask(*items, request_id="r"), ask(*shuffled, request_id="r")

    assert one.fingerprint == other.fingerprint != ""


@settings(deadline=None, max_examples=40)
@given(lines, lines)
def test_other_content_has_another_fingerprint(
    content: list[tuple[str, int, int]], other: list[tuple[str, int, int]]
) -> None:
    prints = [
        ask(*[item(product, quantity, price=price) for product, quantity, price in lines], request_id="r").fingerprint
        for lines in (content, other)
    ]

    assert (prints[0] == prints[1]) == (sorted(content) == sorted(other))


def test_the_fingerprint_tells_users_and_currencies_apart_but_not_the_two_forms_of_a_price() -> None:
    usual = ask(item(price=1), request_id="r")

    assert ask(item(unit_price=dollars(1)), request_id="s").fingerprint == usual.fingerprint
    assert ask(item(price=1), request_id="r", user_id="bob").fingerprint != usual.fingerprint
    euros = MoneyProto(currency_code="EUR", units=1)
    assert ask(item(unit_price=euros), request_id="r").fingerprint != usual.fingerprint


def test_without_a_request_id_there_is_no_fingerprint_to_make() -> None:
    assert ask(item(price=1)).fingerprint == ""


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from(["USD", "JPY", "BHD"]),
    st.lists(st.tuples(st.integers(1, 1_000), st.integers(0, MAX_MINOR // 10**4)), min_size=1, max_size=5),
)
def test_what_is_answered_may_be_asked_for_again(currency: str, content: list[tuple[int, int]]) -> None:
    items = tuple(Item("tea", quantity, Money(currency, minor)) for quantity, minor in content)
    total = Money(currency, sum(quantity * minor for quantity, minor in content))
    order = Order(ORDER_ID, "ada", total, OrderStatus.PENDING, 1, NOON, NOON, items=items)

    answer = order_answer(order)
    again = new_order(order_pb2.CreateOrderRequest(user_id=answer.user_id, items=answer.items), "EUR")

    assert (again.items, again.total) == (items, total)
    assert from_double(answer.total_price, currency) == total


@pytest.mark.parametrize(("count", "is_taken"), [(0, False), (1, True), (MAX_BATCH, True), (MAX_BATCH + 1, False)])
def test_a_batch_has_1_to_1000_requests(count: int, is_taken: bool) -> None:
    request = order_pb2.BatchCreateOrdersRequest(requests=[order_pb2.CreateOrderRequest()] * count)

    if is_taken:
        assert len(batch_requests(request)) == count
    else:
        assert told(lambda: batch_requests(request)) == [("requests", f"must have 1 to {MAX_BATCH} requests")]


def test_a_request_for_one_order_says_which_of_whom() -> None:
    request = order_pb2.GetOrderRequest(order_id=str(ORDER_ID), user_id="ada")

    assert wanted(request) == Wanted(ORDER_ID, "ada")


@pytest.mark.parametrize(
    ("order_id", "why"),
    [
        ("", "must not be empty"),
        ("42", "must be a UUID"),
        ("0198f2c0-7b3a-7c11-9d5e-2f1a3b4c5d6", "must be a UUID"),
        ("0198f2c07b3a7c119d5e2f1a3b4c5d6f", "must be a UUID"),
        ("{0198f2c0-7b3a-7c11-9d5e-2f1a3b4c5d6f}", "must be a UUID"),
        ("x198f2c0-7b3a-7c11-9d5e-2f1a3b4c5d6f", "must be a UUID"),
        ("0198f2c0-7b3a-7c11-9d5e-2f1a3b4c5d6\0", "must be a UUID"),
    ],
)
def test_a_malformed_order_id_is_refused(order_id: str, why: str) -> None:
    requests: list[Callable[[], object]] = [
        lambda: wanted(order_pb2.GetOrderRequest(order_id=order_id, user_id="ada")),
        lambda: wanted(order_pb2.WatchOrderRequest(order_id=order_id, user_id="ada")),
        lambda: wanted(order_pb2.ExplainOrderRequest(order_id=order_id, user_id="ada")),
        lambda: cancellation(order_pb2.CancelOrderRequest(order_id=order_id, user_id="ada"), ""),
        lambda: events_page(order_pb2.ListOrderEventsRequest(order_id=order_id, user_id="ada")),
    ]

    assert [told(request) for request in requests] == [[("order_id", why)]] * len(requests)


@pytest.mark.parametrize(
    ("user_id", "why"),
    [("", "must not be empty"), (ANY_USER, "must be one user"), (TOO_LONG, "must have at most 255 characters")],
)
def test_orders_are_read_as_one_user(user_id: str, why: str) -> None:
    requests: list[Callable[[], object]] = [
        lambda: wanted(order_pb2.GetOrderRequest(order_id=str(ORDER_ID), user_id=user_id)),
        lambda: events_page(order_pb2.ListOrderEventsRequest(order_id=str(ORDER_ID), user_id=user_id)),
    ]

    assert [told(request) for request in requests] == [[("user_id", why)]] * 2


def cancel(**fields: Any) -> order_pb2.CancelOrderRequest:
    return order_pb2.CancelOrderRequest(**{"order_id": str(ORDER_ID), **fields})


def test_an_owner_cancels_as_an_owner_and_staff_as_staff() -> None:
    owner = cancellation(cancel(user_id="ada", reason="too slow", etag='"1"'), "trace")
    staff = cancellation(cancel(staff_id="sam"), "")

    assert (owner.actor, owner.user_id, owner.reason, owner.etag) == (Actor.OWNER, "ada", "too slow", '"1"')
    assert owner.traceparent == "trace"
    assert (staff.actor, staff.user_id) == (Actor.STAFF, "")


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({}, "user_id"),
        ({"user_id": "ada", "staff_id": "sam"}, "user_id"),
        ({"user_id": "a\nb"}, "user_id"),
        ({"staff_id": TOO_LONG}, "staff_id"),
        ({"user_id": "ada", "etag": TOO_LONG}, "etag"),
        ({"user_id": "ada", "reason": "x" * 501}, "reason"),
        ({"user_id": "ada", "reason": "a\0b"}, "reason"),
    ],
)
def test_a_cancellation_that_is_wrong_is_refused(fields: dict[str, Any], wrong: str) -> None:
    assert [field for field, _ in told(lambda: cancellation(cancel(**fields), ""))] == [wrong]


def test_a_reason_may_have_500_characters() -> None:
    assert cancellation(cancel(user_id="ada", reason="ü" * 500), "").reason == "ü" * 500


def orders(**fields: Any) -> order_pb2.ListOrdersRequest:
    return order_pb2.ListOrdersRequest(**{"user_id": "ada", **fields})


def history(**fields: Any) -> order_pb2.ListOrderEventsRequest:
    return order_pb2.ListOrderEventsRequest(**{"order_id": str(ORDER_ID), "user_id": "ada", **fields})


@pytest.mark.parametrize(("asked", "given"), [(0, 50), (1, 1), (1_000, 1_000), (1_001, 1_000), (2**31 - 1, 1_000)])
def test_a_page_of_orders_has_50_by_default_and_1000_at_most(asked: int, given: int) -> None:
    assert orders_page(orders(page_size=asked)).size == given


@pytest.mark.parametrize(("asked", "given"), [(0, 100), (1, 1), (1_000, 1_000), (1_001, 1_000)])
def test_a_page_of_the_history_has_100_by_default_and_1000_at_most(asked: int, given: int) -> None:
    assert events_page(history(page_size=asked)).size == given


@pytest.mark.parametrize("size", [-1, -(2**31)])
def test_a_negative_page_size_is_refused(size: int) -> None:
    assert told(lambda: orders_page(orders(page_size=size))) == [("page_size", "must not be negative")]
    assert told(lambda: events_page(history(page_size=size))) == [("page_size", "must not be negative")]


def test_orders_of_all_users_may_be_listed() -> None:
    assert orders_page(orders(user_id=ANY_USER)).user_id == ANY_USER


def test_no_status_means_every_status() -> None:
    assert orders_page(orders()).statuses == list(OrderStatus)
    assert orders_page(orders(statuses=[order_pb2.CANCELLED])).statuses == [OrderStatus.CANCELLED]


def test_an_unknown_status_is_named_by_its_place() -> None:
    wrong = told(lambda: orders_page(orders(statuses=[order_pb2.PENDING, 0, 99])))

    assert wrong == [("statuses[1]", "is not a status"), ("statuses[2]", "is not a status")]


def test_everything_that_is_wrong_with_a_list_is_told_at_once() -> None:
    wrong = told(lambda: orders_page(orders(user_id="", statuses=[99], page_size=-1, page_token="?")))

    assert [field for field, _ in wrong] == ["user_id", "statuses[0]", "page_size", "page_token"]


def test_a_page_token_leads_on_whatever_the_page_size_and_the_order_of_the_statuses() -> None:
    first = orders_page(orders(statuses=[order_pb2.CANCELLED, order_pb2.PENDING]))

    token = orders_token(first, ORDER_ID)
    second = orders_page(orders(statuses=[order_pb2.PENDING, order_pb2.CANCELLED], page_size=7, page_token=token))

    assert second.below == ORDER_ID
    assert first.below > ORDER_ID


def test_after_the_last_page_there_is_no_token() -> None:
    assert orders_token(orders_page(orders()), None) == ""


def test_a_token_of_the_history_leads_on() -> None:
    token = events_token(events_page(history()), 7)

    assert events_page(history(page_token=token)).above == 7
    assert events_page(history()).above == 0


@pytest.mark.parametrize(
    "other",
    [{"user_id": "bob"}, {"user_id": ANY_USER}, {"statuses": [order_pb2.PENDING]}],
    ids=["user", "all users", "statuses"],
)
def test_a_token_for_another_question_is_refused(other: dict[str, Any]) -> None:
    token = orders_token(orders_page(orders()), ORDER_ID)

    wrong = told(lambda: orders_page(orders(page_token=token, **other)))

    assert wrong == [("page_token", "is not a token of this list")]


def test_a_token_of_one_list_is_none_of_another() -> None:
    of_orders = orders_token(orders_page(orders()), ORDER_ID)
    of_history = events_token(events_page(history()), 7)
    of_another_order = events_token(events_page(history(order_id=str(UUID(int=7)))), 7)

    assert told(lambda: events_page(history(page_token=of_orders)))
    assert told(lambda: orders_page(orders(page_token=of_history)))
    assert told(lambda: events_page(history(page_token=of_another_order)))


@pytest.mark.parametrize("place", range(24))
def test_a_tampered_token_is_refused(place: int) -> None:
    raw = bytearray(base64.urlsafe_b64decode(orders_token(orders_page(orders()), ORDER_ID)))
    raw[place] ^= 1

    wrong = told(lambda: orders_page(orders(page_token=base64.urlsafe_b64encode(raw).decode())))

    assert wrong == [("page_token", "is not a token of this list")]


@settings(deadline=None, max_examples=40)
@given(st.text(min_size=1) | st.binary(min_size=1).map(lambda raw: base64.urlsafe_b64encode(raw).decode()))
def test_a_made_up_token_is_refused(token: str) -> None:
    assert told(lambda: orders_page(orders(page_token=token))) == [("page_token", "is not a token of this list")]
    assert told(lambda: events_page(history(page_token=token))) == [("page_token", "is not a token of this list")]


def test_a_history_token_beyond_any_version_is_refused() -> None:
    token = events_token(events_page(history()), 2**31)

    assert told(lambda: events_page(history(page_token=token))) == [("page_token", "is not a token of this list")]
