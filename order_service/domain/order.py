"""An order and its items."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final
from uuid import UUID

from order_service.domain.money import Money
from order_service.domain.status import OrderStatus, ReasonCode

MAX_ITEMS: Final = 1_000


@dataclass(frozen=True, slots=True)
class Item:
    """`quantity` pieces of a product, at `unit_price` each."""

    product_id: str
    quantity: int
    unit_price: Money


@dataclass(frozen=True, slots=True)
class NewOrder:
    """An order as asked for: valid, priced, and not stored yet. Items are sorted by product id.

    `fingerprint` is equal for requests with equal content; it tells a repeat from a reuse of `request_id`.
    """

    user_id: str
    items: tuple[Item, ...]
    total: Money
    request_id: str = ""
    fingerprint: str = ""


@dataclass(frozen=True, slots=True)
class Reason:
    """Why an order has its status: a code for programs, a text for people."""

    code: ReasonCode
    text: str


@dataclass(frozen=True, slots=True)
class Order:
    """An order as stored. `version` is that of its last event; `items` may be left out where they are not needed."""

    order_id: UUID
    user_id: str
    total: Money
    status: OrderStatus
    version: int
    created_at: datetime
    updated_at: datetime
    reason: Reason | None = None
    items: tuple[Item, ...] = ()

    @property
    def etag(self) -> str:
        """Changes with every change of the order (AIP-154)."""
        return f'"{self.version}"'

    def as_first_answered(self) -> "Order":
        """The order as CreateOrder answered it, whatever has become of it since (AIP-155)."""
        return replace(self, status=OrderStatus.PENDING, version=1, updated_at=self.created_at, reason=None)


def total_minor(items: Iterable[Item]) -> int:
    """The exact sum of quantity times unit price, in minor units."""
    return sum(item.quantity * item.unit_price.minor for item in items)
