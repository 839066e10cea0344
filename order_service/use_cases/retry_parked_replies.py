"""Tries parked replies again: those for an order that was unknown, and those that an operator redrives."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from order_service.messages.incoming import STEP_OF, UnreadableMessage, decode_reply, traceparent_in
from order_service.storage.parked_messages import Postponed, Retry
from order_service.storage.unit_of_work import UnitOfWork
from order_service.use_cases.advance_sagas import Advance, SagaRules
from order_service.use_cases.apply_replies import Reply, ReplyOutcome, apply_replies

UNKNOWN_ORDER: Final = "UNKNOWN_ORDER"
UNREADABLE: Final = "UNREADABLE"
REFUSED: Final = "REFUSED_BY_DATABASE"
FIRST_RETRY_SECONDS: Final = 1.0
_LONGEST_RETRY_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Retried:
    """What became of the messages that were tried again: source and outcome of each, those left to an operator, and
    how far each order has come."""

    outcomes: tuple[tuple[str, ReplyOutcome], ...]
    given_up: tuple[Postponed, ...]
    advances: tuple[Advance, ...]


def retry_delay(attempts: int) -> float:
    """Seconds until the next try after `attempts` tries: doubling up to a minute, with jitter."""
    return random.uniform(0.75, 1.25) * min(_LONGEST_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2.0 ** min(attempts, 10))


async def retry_parked_replies(
    unit_of_work: UnitOfWork, due: Sequence[Retry], retry_for_seconds: float, rules: SagaRules
) -> Retried:
    """Tries claimed messages; one whose order is unknown for `retry_for_seconds` is left to an operator."""
    readable, postponed = _decode(due)
    outcomes: list[tuple[str, ReplyOutcome]] = []
    advances: list[Advance] = []
    handled: list[int] = []
    for source in {retry.source for retry, _ in readable}:
        mine = [(retry, reply) for retry, reply in readable if retry.source == source]
        applied = await apply_replies(unit_of_work, source, [reply for _, reply in mine], rules)
        advances.extend(applied.advances)
        for (retry, _), outcome in zip(mine, applied.outcomes, strict=True):
            outcomes.append((source, outcome))
            if outcome is ReplyOutcome.UNKNOWN:
                postponed.append(_postpone(retry, retry_for_seconds))
            else:
                handled.append(retry.parked_id)
    await unit_of_work.parked.postpone(postponed)
    if handled:
        await unit_of_work.parked.delete(handled)
    given_up = tuple(one for one in postponed if one.retry_seconds is None)
    return Retried(tuple(outcomes), given_up, tuple(advances))


def _decode(due: Sequence[Retry]) -> tuple[list[tuple[Retry, Reply]], list[Postponed]]:
    readable: list[tuple[Retry, Reply]] = []
    unreadable: list[Postponed] = []
    for retry in due:
        try:
            order_id, received = decode_reply(STEP_OF[retry.source], retry.body)
        except UnreadableMessage as error:
            unreadable.append(Postponed(retry.parked_id, None, UNREADABLE, str(error)))
            continue
        readable.append((retry, Reply(retry.message_key, order_id, received, traceparent_in(retry.headers))))
    return readable, unreadable


def _postpone(retry: Retry, retry_for_seconds: float) -> Postponed:
    give_up = retry.waited_seconds >= retry_for_seconds
    delay = None if give_up else retry_delay(retry.attempts + 1)
    return Postponed(retry.parked_id, delay, UNKNOWN_ORDER, "there is no such order")
