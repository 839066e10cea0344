"""Stores new orders: order, items, saga, history and outbox, in one transaction for the whole list."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from order_service.domain.errors import RequestIdReused
from order_service.domain.events import OrderCreated, OrderEvent
from order_service.domain.order import NewOrder, Order
from order_service.domain.status import OrderStatus
from order_service.saga.engine import start
from order_service.saga.order_saga import StepName
from order_service.storage.create_requests import CreateRequest
from order_service.storage.unit_of_work import UnitOfWork

Timeouts = Mapping[StepName, timedelta]


@dataclass(frozen=True, slots=True)
class OrderToCreate:
    """An order to store, under ids made beforehand so that a second attempt stores the same one."""

    new: NewOrder
    order_id: UUID
    event_id: UUID
    asked_at: datetime
    traceparent: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """The idempotency key: a user's request_id."""
        return self.new.user_id, self.new.request_id


Result = Order | RequestIdReused


async def create_orders(
    unit_of_work: UnitOfWork, asked: Sequence[OrderToCreate], timeouts: Timeouts
) -> list[tuple[Result, bool]]:
    """For each order asked for: the order as it was first answered and whether it is new, or why it is refused.

    A repeated `request_id` with equal content gets the order of the first request (AIP-155), also while that one is
    still being stored: its claim is waited for.
    """
    earlier = await _claim_request_ids(unit_of_work, asked)
    fresh = {ask.order_id: ask for ask in asked if ask.order_id not in earlier}
    created = {order_id: _order(ask) for order_id, ask in fresh.items()}
    await _store(unit_of_work, [(ask, created[order_id]) for order_id, ask in fresh.items()], timeouts)
    elsewhere = {claim.order_id for claim in earlier.values()} - created.keys()
    known = created | (await unit_of_work.orders.get(elsewhere) if elsewhere else {})
    return [_result(ask, earlier.get(ask.order_id), known) for ask in asked]


async def _claim_request_ids(unit_of_work: UnitOfWork, asked: Sequence[OrderToCreate]) -> dict[UUID, CreateRequest]:
    """The earlier claims that stand in the way, by the id of the order they keep from being stored."""
    claims = [
        CreateRequest(ask.new.user_id, ask.new.request_id, ask.new.fingerprint, ask.order_id)
        for ask in asked
        if ask.new.request_id
    ]
    if not claims:
        return {}
    won = await unit_of_work.create_requests.insert(claims)
    lost = [claim for claim in claims if claim.order_id not in won]
    if not lost:
        return {}
    held = await unit_of_work.create_requests.get({(claim.user_id, claim.request_id) for claim in lost})
    holders = {claim.order_id: held[claim.user_id, claim.request_id] for claim in lost}
    return {order_id: holder for order_id, holder in holders.items() if holder.order_id != order_id}


async def _store(unit_of_work: UnitOfWork, orders: Sequence[tuple[OrderToCreate, Order]], timeouts: Timeouts) -> None:
    if not orders:
        return
    await unit_of_work.orders.insert([order for _, order in orders])
    await unit_of_work.sagas.insert(
        [(start(order.order_id, timeouts, order.created_at), ask.traceparent) for ask, order in orders]
    )
    await unit_of_work.events.append([_order_created(ask, order) for ask, order in orders])


def _order(ask: OrderToCreate) -> Order:
    return Order(
        order_id=ask.order_id,
        user_id=ask.new.user_id,
        total=ask.new.total,
        status=OrderStatus.PENDING,
        version=1,
        created_at=ask.asked_at,
        updated_at=ask.asked_at,
        items=ask.new.items,
    )


def _order_created(ask: OrderToCreate, order: Order) -> OrderEvent:
    return OrderEvent(
        event_id=ask.event_id,
        order_id=order.order_id,
        user_id=order.user_id,
        version=order.version,
        status=order.status,
        occurred_at=order.created_at,
        fact=OrderCreated(order.items, order.total),
        traceparent=ask.traceparent,
    )


def _result(ask: OrderToCreate, holder: CreateRequest | None, known: Mapping[UUID, Order]) -> tuple[Result, bool]:
    if holder is None:
        return known[ask.order_id], True
    if holder.fingerprint != ask.new.fingerprint:
        return RequestIdReused("request_id was used before with other content"), False
    return known[holder.order_id].as_first_answered(), False
