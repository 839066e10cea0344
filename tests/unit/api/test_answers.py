"""Answers hold no more bytes than a page counts for them."""

from datetime import UTC, datetime
from uuid import UUID

from order_service.api.answers import order_answer
from order_service.domain.money import MAX_MINOR, Money
from order_service.domain.order import Item, Order, Reason
from order_service.domain.status import OrderStatus, ReasonCode
from order_service.pb import order_pb2
from order_service.storage.orders import ITEM_BYTES, ORDER_BYTES

LATE = datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
MOST = Money("USD", MAX_MINOR)
QUANTITY = 2**31 - 1


def answer_of(*items: Item) -> order_pb2.Order:
    """The largest order of these items."""
    reason = Reason(max(ReasonCode, key=len), "")
    return order_answer(
        Order(UUID(int=2**128 - 1), "", MOST, max(OrderStatus, key=len), 2**31 - 1, LATE, LATE, reason, items)
    )


def test_an_order_without_items_takes_no_more_than_is_counted() -> None:
    assert answer_of().ByteSize() <= ORDER_BYTES


def test_an_item_takes_no_more_than_is_counted() -> None:
    product = "p" * 1_000
    one, two = (answer_of(*[Item(product, QUANTITY, MOST)] * count).ByteSize() for count in (1, 2))

    assert two - one - len(product) <= ITEM_BYTES
