"""Answers questions about orders. A user only ever sees orders of their own."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from order_service.domain.errors import OrderNotFound
from order_service.domain.order import Order
from order_service.storage.events import RecordedEvent
from order_service.storage.orders import ALL_USERS
from order_service.storage.unit_of_work import UnitOfWork

ANY_USER: Final = ALL_USERS
"""For operators' tools, which may see every order."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """An order, and whose it must be."""

    order_id: UUID
    user_id: str


async def get_orders(unit_of_work: UnitOfWork, wanted: Collection[Wanted]) -> list[Order | OrderNotFound]:
    """Each order wanted, or OrderNotFound in its place if it is unknown or another user's."""
    found = await unit_of_work.orders.get({want.order_id for want in wanted})
    return [_owned(found.get(want.order_id), want) for want in wanted]


async def get_order(unit_of_work: UnitOfWork, wanted: Wanted) -> Order:
    """One order. Raises OrderNotFound."""
    (found,) = await get_orders(unit_of_work, [wanted])
    if isinstance(found, OrderNotFound):
        raise found
    return found


async def list_order_events(unit_of_work: UnitOfWork, wanted: Wanted, above: int, limit: int) -> list[RecordedEvent]:
    """The order's history above a version, oldest first, at most `limit` events. Raises OrderNotFound."""
    order = await get_order(unit_of_work, wanted)
    return await unit_of_work.events.page(order.order_id, order.created_at, above, limit)


def _owned(order: Order | None, want: Wanted) -> Order | OrderNotFound:
    if order is None or want.user_id not in (order.user_id, ANY_USER):
        return OrderNotFound("order not found")
    return order
