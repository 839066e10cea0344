"""Cancels an order on request of its owner or of staff."""

from dataclasses import dataclass
from uuid import UUID

from order_service.domain.errors import EtagMismatch, IllegalTransition, OrderNotFound
from order_service.domain.order import Order, Reason
from order_service.domain.status import Actor, OrderStatus, ReasonCode, may_go, targets
from order_service.saga.engine import CancelRequested
from order_service.storage.orders import LockedOrder
from order_service.storage.unit_of_work import UnitOfWork
from order_service.use_cases.advance_sagas import Advance, SagaRules, advance, begin, record

_CODES = {Actor.OWNER: ReasonCode.CANCELLED_BY_OWNER, Actor.STAFF: ReasonCode.CANCELLED_BY_STAFF}


@dataclass(frozen=True, slots=True)
class Cancellation:
    """Who asks to cancel which order, and why. An owner only reaches orders of their own (`user_id`); `etag`, if not
    empty, is that of the order the caller has seen."""

    order_id: UUID
    actor: Actor
    user_id: str
    reason: str = ""
    etag: str = ""
    traceparent: str = ""


async def cancel_order(unit_of_work: UnitOfWork, asked: Cancellation, rules: SagaRules) -> Advance:
    """The order after it was cancelled; cancelling a cancelled order changes nothing and succeeds.

    Raises OrderNotFound, EtagMismatch, IllegalTransition.
    """
    locked = (await unit_of_work.orders.lock([asked.order_id])).get(asked.order_id)
    if locked is None or (asked.actor is Actor.OWNER and locked.order.user_id != asked.user_id):
        raise OrderNotFound("order not found")
    if locked.order.status is OrderStatus.CANCELLED:
        return begin(locked)
    _check_may_cancel(locked, asked)
    reason = Reason(_CODES[asked.actor], asked.reason)
    after, _ = advance(begin(locked), CancelRequested(reason), asked.traceparent, rules)
    await record(unit_of_work, [after], rules)
    return after


def _check_may_cancel(locked: LockedOrder, asked: Cancellation) -> None:
    order: Order = locked.order
    if asked.etag and asked.etag != order.etag:
        raise EtagMismatch("the order has changed since it was read")
    if not may_go(order.status, OrderStatus.CANCELLED, asked.actor):
        raise IllegalTransition(order.status, targets(order.status, asked.actor))
