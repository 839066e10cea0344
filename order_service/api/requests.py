"""Every rule for what callers send, and what it becomes inside. All violations of a request are reported at once."""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Final
from uuid import UUID

import msgspec
from google.type.money_pb2 import Money as MoneyProto

from order_service.api.checks import MAX_ID_LENGTH, Checks, has_control_characters
from order_service.api.page_tokens import from_token, to_token
from order_service.domain.money import MAX_MINOR, BadAmount, Money, from_double, from_units_and_nanos, minor_digits
from order_service.domain.order import MAX_ITEMS, Item, NewOrder, total_minor
from order_service.domain.status import Actor, OrderStatus
from order_service.pb import order_pb2
from order_service.storage.orders import ALL_USERS
from order_service.use_cases.cancel_order import Cancellation
from order_service.use_cases.read_orders import Wanted

MAX_BATCH: Final = 1_000
MAX_REASON_LENGTH: Final = 500
_DEFAULT_ORDERS: Final = 50
_DEFAULT_EVENTS: Final = 100
_MAX_VERSION: Final = 2**31 - 1

_encode = msgspec.json.Encoder().encode


def new_order(request: order_pb2.CreateOrderRequest, default_currency: str) -> NewOrder:
    """The order asked for. Raises InvalidRequest."""
    checks = Checks()
    user_id = checks.identifier("user_id", request.user_id)
    request_id = checks.identifier("request_id", request.request_id, required=False)
    if user_id == ALL_USERS:
        checks.wrong("user_id", f"must not be {ALL_USERS!r}, which stands for all users")
    if not request.items:
        checks.wrong("items", "must have at least one item")
    if len(request.items) > MAX_ITEMS:
        checks.wrong("items", f"must have at most {MAX_ITEMS} items")
        checks.raise_any()
    currency = _currency(request.items, default_currency)
    items = [_item(checks, place, item, currency) for place, item in enumerate(request.items)]
    total = total_minor(items)
    if total > MAX_MINOR:
        checks.wrong("items", "the total is above the greatest amount")
    checks.raise_any()
    ordered = tuple(sorted(items, key=lambda item: item.product_id))
    fingerprint = _fingerprint(user_id, currency, ordered) if request_id else ""
    return NewOrder(user_id, ordered, Money(currency, total), request_id, fingerprint)


def _currency(items: Iterable[order_pb2.OrderItem], default: str) -> str:
    """The order's currency: that of the first item that names one."""
    for item in items:
        named: str = item.unit_price.currency_code if item.HasField("unit_price") else ""
        if named:
            return named
    return default


def _item(checks: Checks, place: int, item: order_pb2.OrderItem, currency: str) -> Item:
    product_id = item.product_id
    if not product_id or len(product_id) > MAX_ID_LENGTH or has_control_characters(product_id):
        checks.identifier(f"items[{place}].product_id", product_id)
    if item.quantity <= 0:
        checks.wrong(f"items[{place}].quantity", "must be at least 1")
    return Item(product_id, item.quantity, _unit_price(checks, place, item, currency))


def _unit_price(checks: Checks, place: int, item: order_pb2.OrderItem, currency: str) -> Money:
    """The price of one unit: from either twin, or from both if they agree. A double of 0 counts as not sent."""
    field = exact_field = f"items[{place}].unit_price"
    try:
        exact = _exact(item.unit_price, currency) if item.HasField("unit_price") else None
        if exact is not None and not item.price:
            return exact
        field = f"items[{place}].price"
        stated = from_double(item.price, currency)
        if exact not in (None, stated):
            field = exact_field
            raise BadAmount("disagrees with price")
        return stated
    except BadAmount as error:
        checks.wrong(field, str(error))
        return Money(currency, 0)


def _exact(money: MoneyProto, currency: str) -> Money:
    minor_digits(money.currency_code)
    if money.currency_code != currency:
        raise BadAmount("must have the currency of the other items")
    return from_units_and_nanos(money.units, money.nanos, currency)


def _fingerprint(user_id: str, currency: str, items: Sequence[Item]) -> str:
    lines = sorted((item.product_id, item.quantity, item.unit_price.minor) for item in items)
    content = [user_id, currency, lines]
    return hashlib.blake2b(_encode(content), digest_size=16).hexdigest()


def batch_requests(request: order_pb2.BatchCreateOrdersRequest) -> Sequence[order_pb2.CreateOrderRequest]:
    """The requests of a batch, not looked into. Raises InvalidRequest."""
    checks = Checks()
    if not 1 <= len(request.requests) <= MAX_BATCH:
        checks.wrong("requests", f"must have 1 to {MAX_BATCH} requests")
    checks.raise_any()
    return request.requests


OwnedOrderRequest = order_pb2.GetOrderRequest | order_pb2.WatchOrderRequest | order_pb2.ExplainOrderRequest


def wanted(request: OwnedOrderRequest) -> Wanted:
    """Which order of which user. Raises InvalidRequest."""
    checks = Checks()
    order = Wanted(checks.order_id("order_id", request.order_id), _owner(checks, request.user_id))
    checks.raise_any()
    return order


def _owner(checks: Checks, user_id: str) -> str:
    if user_id == ALL_USERS:
        checks.wrong("user_id", "must be one user")
    return checks.identifier("user_id", user_id)


def cancellation(request: order_pb2.CancelOrderRequest, traceparent: str) -> Cancellation:
    """Who cancels which order. Raises InvalidRequest."""
    checks = Checks()
    order_id = checks.order_id("order_id", request.order_id)
    if bool(request.user_id) == bool(request.staff_id):
        checks.wrong("user_id", "exactly one of user_id and staff_id must be set")
    checks.identifier("user_id", request.user_id, required=False)
    checks.identifier("staff_id", request.staff_id, required=False)
    checks.identifier("etag", request.etag, required=False)
    if len(request.reason) > MAX_REASON_LENGTH or has_control_characters(request.reason):
        checks.wrong("reason", f"must have at most {MAX_REASON_LENGTH} characters and no control characters")
    checks.raise_any()
    actor = Actor.STAFF if request.staff_id else Actor.OWNER
    return Cancellation(order_id, actor, request.user_id, request.reason, request.etag, traceparent)


class OrdersPage(msgspec.Struct, frozen=True):
    """Which page of whose orders."""

    user_id: str
    statuses: list[OrderStatus]
    below: UUID
    size: int


def orders_page(request: order_pb2.ListOrdersRequest) -> OrdersPage:
    """Raises InvalidRequest."""
    checks = Checks()
    user_id = checks.identifier("user_id", request.user_id)
    statuses = _statuses(checks, request.statuses)
    size = checks.page_size(request.page_size, _DEFAULT_ORDERS)
    question = _encode([user_id, sorted(statuses)])
    below = from_token(checks, request.page_token, question)
    checks.raise_any()
    return OrdersPage(user_id, statuses, below or UUID(int=2**128 - 1), size)


def orders_token(page: OrdersPage, next_below: UUID | None) -> str:
    """The token for the page after `page`; empty if there is none."""
    return to_token(next_below, _encode([page.user_id, sorted(page.statuses)])) if next_below else ""


def _statuses(checks: Checks, values: Iterable[int]) -> list[OrderStatus]:
    statuses = []
    for place, value in enumerate(values):
        name = order_pb2.OrderStatus.Name(value) if value in order_pb2.OrderStatus.values() else ""  # type: ignore[arg-type]
        if name in OrderStatus.__members__:
            statuses.append(OrderStatus(name))
        else:
            checks.wrong(f"statuses[{place}]", "is not a status")
    return statuses or list(OrderStatus)


class EventsPage(msgspec.Struct, frozen=True):
    """Which page of which order's history."""

    wanted: Wanted
    above: int
    size: int


def events_page(request: order_pb2.ListOrderEventsRequest) -> EventsPage:
    """Raises InvalidRequest."""
    checks = Checks()
    order = Wanted(checks.order_id("order_id", request.order_id), _owner(checks, request.user_id))
    size = checks.page_size(request.page_size, _DEFAULT_EVENTS)
    above = from_token(checks, request.page_token, order.order_id.bytes)
    if above is not None and above.int > _MAX_VERSION:
        checks.wrong("page_token", "is not a token of this list")
    checks.raise_any()
    return EventsPage(order, above.int if above else 0, size)


def events_token(page: EventsPage, last_version: int) -> str:
    """The token for the page after the version given."""
    return to_token(UUID(int=last_version), page.wanted.order_id.bytes)
