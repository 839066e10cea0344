"""Applies the replies of the stock and payment services, each once."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from order_service.saga import engine
from order_service.saga.engine import ReplyReceived
from order_service.storage.unit_of_work import UnitOfWork
from order_service.use_cases.advance_sagas import Advance, SagaRules, advance, begin, record


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply as it was received. `message_key` is equal for the same message delivered again."""

    message_key: UUID
    order_id: UUID
    received: ReplyReceived
    traceparent: str = ""


class ReplyOutcome(StrEnum):
    """What became of a reply."""

    APPLIED = "applied"
    DUPLICATE = "duplicate"
    LATE = "late"
    IGNORED = "ignored"
    UNKNOWN = "unknown"
    """There is no such order. The reply has had no effect and is not noted as handled."""


@dataclass(frozen=True, slots=True)
class Applied:
    """The outcome of each reply, in their order, and how far each order has come."""

    outcomes: tuple[ReplyOutcome, ...]
    advances: tuple[Advance, ...]


async def apply_replies(unit_of_work: UnitOfWork, consumer: str, replies: Sequence[Reply], rules: SagaRules) -> Applied:
    """Applies replies in their order. `consumer` names who notes them as handled."""
    unseen = await unit_of_work.inbox.insert(consumer, [reply.message_key for reply in replies])
    locked = await unit_of_work.orders.lock({reply.order_id for reply in replies if reply.message_key in unseen})
    so_far = {order_id: begin(order) for order_id, order in locked.items()}
    outcomes = [_apply(reply, unseen, so_far, rules) for reply in replies]
    unknown = [
        reply.message_key for reply, outcome in zip(replies, outcomes, strict=True) if outcome is ReplyOutcome.UNKNOWN
    ]
    if unknown:
        await unit_of_work.inbox.delete(consumer, unknown)
    await record(unit_of_work, so_far.values(), rules)
    return Applied(tuple(outcomes), tuple(so_far.values()))


def _apply(reply: Reply, unseen: set[UUID], so_far: dict[UUID, Advance], rules: SagaRules) -> ReplyOutcome:
    if reply.message_key not in unseen:
        return ReplyOutcome.DUPLICATE
    unseen.discard(reply.message_key)
    if reply.order_id not in so_far:
        return ReplyOutcome.UNKNOWN
    after, outcome = advance(so_far[reply.order_id], reply.received, reply.traceparent, rules)
    so_far[reply.order_id] = after
    return _SAGA_OUTCOMES[outcome]


_SAGA_OUTCOMES = {
    engine.Outcome.APPLIED: ReplyOutcome.APPLIED,
    engine.Outcome.DUPLICATE: ReplyOutcome.DUPLICATE,
    engine.Outcome.LATE: ReplyOutcome.LATE,
    engine.Outcome.IGNORED: ReplyOutcome.IGNORED,
}
