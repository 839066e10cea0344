"""Orders and their items."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Final
from uuid import UUID

from order_service.domain.money import Money
from order_service.domain.order import Item, Order, Reason
from order_service.domain.status import OrderStatus, ReasonCode
from order_service.saga.engine import Saga
from order_service.storage.rows import rows
from order_service.storage.sagas import saga_of
from order_service.storage.table import Table

ALL_USERS: Final = "-"
"""Stands for the orders of all users where a user is asked for (AIP-159)."""

_SCAN: Final = 10_000
"""How many orders a page looks at before it gives what it has and a cursor: bounds its time whatever the filter."""

PAGE_BYTES: Final = 3_000_000
"""A page ends with the order that brings its answer to so much. With the largest order there can be, about 1.1 MB, it
is still below the 4 MB that a client of gRPC takes unless it is told otherwise."""
ORDER_BYTES: Final = 200
"""What an order takes in an answer at most, but for its user, its reason and its items."""
ITEM_BYTES: Final = 50
"""What an item takes in an answer at most, but for its product's id."""


@dataclass(frozen=True, slots=True)
class LockedOrder:
    """An order (without items) with its saga, as they are while the transaction holds them. `now` is PostgreSQL's."""

    order: Order
    saga: Saga
    created_in_trace: str
    now: datetime


@dataclass(frozen=True, slots=True)
class Page:
    """Some orders, newest first, and where the next page starts: None after the last."""

    orders: tuple[Order, ...]
    next_below: UUID | None


class Orders(Table):
    """The statements on `orders` and `order_items`."""

    name: ClassVar[str] = "orders"

    async def insert(self, orders: Sequence[Order]) -> None:
        """Stores new orders with their items. Those that are there already stay as they are."""
        await self._execute("insert", rows=rows([_order_row(order) for order in orders]))
        items = [
            _item_row(order.order_id, line, item) for order in orders for line, item in enumerate(order.items, start=1)
        ]
        await self._execute("insert_items", rows=rows(items))

    async def get(self, order_ids: Collection[UUID]) -> dict[UUID, Order]:
        """The orders that exist, by id, with their items."""
        found = await self._all("get", _order_of, order_ids=list(order_ids))
        return {order.order_id: order for order in found}

    async def page(self, user_id: str, statuses: Collection[OrderStatus], below: UUID, size: int) -> Page:
        """A user's (or with ALL_USERS everyone's) orders with one of `statuses` and an id below `below`: at most
        `size`, none after those that have reached PAGE_BYTES together."""
        query = "page_of_all" if user_id == ALL_USERS else "page_of_user"
        parameters: dict[str, Any] = {} if user_id == ALL_USERS else {"user_id": user_id}
        parameters |= {"below": below, "scan": _SCAN, "statuses": [status.value for status in statuses]}
        parameters |= {"most_bytes": PAGE_BYTES, "order_bytes": ORDER_BYTES, "item_bytes": ITEM_BYTES}
        looked_at = await self._all(query, lambda *row: row, **parameters, most=size + 1)
        wanted = [_order_of(*order) for *order, is_wanted in looked_at if is_wanted]
        stopped_at = next((order_id for order_id, *_, is_wanted in looked_at if not is_wanted), None)
        next_below = wanted[size - 1].order_id if len(wanted) > size else stopped_at
        return Page(tuple(wanted[:size]), next_below)

    async def lock(self, order_ids: Collection[UUID]) -> dict[UUID, LockedOrder]:
        """The orders that exist, by id, locked until the transaction ends."""
        await self._execute("lock", order_ids=list(order_ids))
        found = await self._all("locked", _locked_order_of, order_ids=list(order_ids))
        return {locked.order.order_id: locked for locked in found}

    async def lock_readable(self, order_ids: Collection[UUID]) -> dict[UUID, LockedOrder]:
        """The same, without those that this version cannot read: in the midst of an upgrade they are the other's."""
        await self._execute("lock", order_ids=list(order_ids))
        found = await self._all("locked", _locked_order_if_readable, order_ids=list(order_ids))
        return {locked.order.order_id: locked for locked in found if locked is not None}

    async def update(self, changed: Sequence[tuple[LockedOrder, Order]]) -> None:
        """Writes what has become of locked orders."""
        batch = [_change_row(locked, order) for locked, order in changed]
        if batch:
            await self._execute("update", rows=rows(batch))

    async def items(self, currencies: Mapping[UUID, str]) -> dict[UUID, tuple[Item, ...]]:
        """The items of the orders that `currencies` has, each with its currency, by their ids."""
        items: defaultdict[UUID, list[Item]] = defaultdict(list)
        for order_id, product_id, quantity, minor in await self._all(
            "items", lambda *columns: columns, order_ids=list(currencies)
        ):
            items[order_id].append(Item(product_id, quantity, Money(currencies[order_id], minor)))
        return {order_id: tuple(lines) for order_id, lines in items.items()}


def _order_of(
    order_id: UUID,
    user_id: str,
    currency: str,
    total_minor: int,
    status: str,
    version: int,
    created_at: datetime,
    updated_at: datetime,
    reason_code: str | None,
    reason: str | None,
    items: list[tuple[str, int, int]] | None = None,
) -> Order:
    return Order(
        order_id=order_id,
        user_id=user_id,
        total=Money(currency, total_minor),
        status=OrderStatus(status),
        version=version,
        created_at=created_at,
        updated_at=updated_at,
        reason=Reason(ReasonCode(reason_code), reason or "") if reason_code else None,
        items=tuple(Item(product_id, quantity, Money(currency, minor)) for product_id, quantity, minor in items or ()),
    )


def _locked_order_of(*columns: Any) -> LockedOrder:
    *order, state, steps, asked_at, deadline_at, traceparent, now = columns
    saga = saga_of(order[0], state, steps, asked_at, deadline_at)
    return LockedOrder(_order_of(*order), saga, traceparent or "", now)


def _locked_order_if_readable(*columns: Any) -> LockedOrder | None:
    try:
        return _locked_order_of(*columns)
    except ValueError:
        return None


def _order_row(order: Order) -> dict[str, Any]:
    return {
        "order_id": order.order_id,
        "user_id": order.user_id,
        "currency": order.total.currency,
        "total_minor": order.total.minor,
        "status": order.status,
        "version": order.version,
        "created_at": order.created_at,
    }


def _item_row(order_id: UUID, line: int, item: Item) -> dict[str, Any]:
    return {
        "order_id": order_id,
        "line": line,
        "product_id": item.product_id,
        "quantity": item.quantity,
        "unit_price_minor": item.unit_price.minor,
    }


def _change_row(locked: LockedOrder, order: Order) -> dict[str, Any]:
    return {
        "order_id": order.order_id,
        "status": order.status,
        "reason_code": order.reason.code if order.reason else None,
        "reason": order.reason.text if order.reason else None,
        "version": order.version,
        "updated_at": order.updated_at,
        "locked_version": locked.order.version,
    }
