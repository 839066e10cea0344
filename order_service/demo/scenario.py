"""What a demo asks of the service, order by order, and what has to become of each. The same seed, the same orders."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from order_service.domain.status import OrderStatus, ReasonCode


class Kind(StrEnum):
    """What happens to an order. All but CANCELLED are the stock service's doing: see its `BEHAVIOURS`."""

    IN_STOCK = "in-stock"
    OUT_OF_STOCK = "out-of-stock"
    NEVER_ANSWERED = "never-answered"
    CANCELLED = "cancelled"
    ANSWERED_TWICE = "answered-twice"
    ANSWERED_LATE = "answered-late"


@dataclass(frozen=True, slots=True)
class Ending:
    """How an order has to end, and whether stock that was taken for it has to be released."""

    status: OrderStatus
    reason_code: ReasonCode | None = None
    released: bool = False


ENDINGS: Final[Mapping[Kind, Ending]] = {
    Kind.IN_STOCK: Ending(OrderStatus.CONFIRMED),
    Kind.OUT_OF_STOCK: Ending(OrderStatus.CANCELLED, ReasonCode.STOCK_REFUSED),
    Kind.NEVER_ANSWERED: Ending(OrderStatus.CANCELLED, ReasonCode.STOCK_TIMEOUT),
    Kind.CANCELLED: Ending(OrderStatus.CANCELLED, ReasonCode.CANCELLED_BY_OWNER, released=True),
    Kind.ANSWERED_TWICE: Ending(OrderStatus.CONFIRMED),
    Kind.ANSWERED_LATE: Ending(OrderStatus.CANCELLED, ReasonCode.STOCK_TIMEOUT, released=True),
}

_PER_CENT: Final[Mapping[Kind, int]] = {
    Kind.OUT_OF_STOCK: 10,
    Kind.NEVER_ANSWERED: 4,
    Kind.CANCELLED: 6,
    Kind.ANSWERED_TWICE: 6,
    Kind.ANSWERED_LATE: 4,
}
"""The others are in stock."""

_PRODUCTS: Final = ("tea", "coffee", "cup", "kettle", "honey", "biscuits", "lemon", "sugar", "spoon", "tray")
_USERS: Final = 25


@dataclass(frozen=True, slots=True)
class PlannedItem:
    """A line of an order to place; the price is that of one, in cents."""

    product_id: str
    quantity: int
    price_minor: int


@dataclass(frozen=True, slots=True)
class PlannedOrder:
    """An order to place. `request_id` makes it safe to ask again."""

    kind: Kind
    user_id: str
    request_id: str
    items: tuple[PlannedItem, ...]


@dataclass(frozen=True, slots=True)
class Scenario:
    """The orders of one run, in the order in which they are placed. `run_id` is in the name of each of its users, so
    that they are nobody else's."""

    run_id: str
    seed: int
    orders: tuple[PlannedOrder, ...]

    @property
    def users(self) -> list[str]:
        """Whose orders they are."""
        return sorted({order.user_id for order in self.orders})

    @property
    def poison(self) -> bytes:
        """A message that is no StockUpdateResult, to be parked with its bytes."""
        return f"no JSON, run {self.run_id}: \xff{{".encode("latin-1")

    @property
    def told(self) -> str:
        """What is going to be asked, in words."""
        kinds = ", ".join(f"{self.count(kind)} {kind}" for kind in Kind)
        return f"placing {len(self.orders)} orders: {kinds}; and one poison message"

    def count(self, kind: Kind) -> int:
        """How many orders are of a kind."""
        return sum(order.kind is kind for order in self.orders)


def plan(run_id: str, orders: int, seed: int) -> Scenario:
    """A scenario of so many orders."""
    chance = random.Random(seed)
    kinds = [kind for kind, share in _PER_CENT.items() for _ in range(round(orders * share / 100))]
    kinds += [Kind.IN_STOCK] * (orders - len(kinds))
    chance.shuffle(kinds)
    return Scenario(
        run_id, seed, tuple(_order(run_id, place, kind, chance) for place, kind in enumerate(kinds[:orders]))
    )


def _order(run_id: str, place: int, kind: Kind, chance: random.Random) -> PlannedOrder:
    prefix = Kind.IN_STOCK if kind is Kind.CANCELLED else kind
    products = chance.sample(_PRODUCTS, chance.randint(1, 3))
    items = tuple(
        PlannedItem(f"{prefix}-{product}", chance.randint(1, 4), chance.randint(99, 4_999)) for product in products
    )
    return PlannedOrder(kind, f"demo-{run_id}-{chance.randrange(_USERS):02}", f"{run_id}-{place}", items)
