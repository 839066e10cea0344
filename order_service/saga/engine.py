"""Decides what a stimulus means for a saga. Pure: the same arguments give the same decision."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import assert_never
from uuid import UUID

from order_service.domain.events import EventType
from order_service.domain.order import Reason
from order_service.domain.status import OrderStatus
from order_service.saga.order_saga import ORDER_SAGA, STEPS, Step, StepName


class StepState(StrEnum):
    """How far one step has come."""

    NOT_ASKED = "NOT_ASKED"
    ASKED = "ASKED"
    HELD = "HELD"
    REFUSED = "REFUSED"
    ABANDONED = "ABANDONED"
    """Asked, and no longer waited for: a success that comes late must be undone."""
    UNDONE = "UNDONE"
    """Was held, and its undoing has been asked for."""


class SagaState(StrEnum):
    """Whether the saga is under way, or how it ended."""

    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    UNDONE = "UNDONE"


@dataclass(frozen=True, slots=True)
class Saga:
    """One order's saga. `asked_at` and `deadline_at` belong to the step that is waited for, and are None if none is."""

    order_id: UUID
    state: SagaState
    steps: Mapping[StepName, StepState]
    asked_at: datetime | None
    deadline_at: datetime | None

    def waiting_step(self) -> Step | None:
        """The step whose reply the saga waits for."""
        return next((STEPS[name] for name, state in self.steps.items() if state is StepState.ASKED), None)


@dataclass(frozen=True, slots=True)
class ReplyReceived:
    """The answer to a step. `reason` is the peer's own words on a failure."""

    step: StepName
    success: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class DeadlinePassed:
    """The clock reached the saga's deadline (or may have: the engine compares)."""


@dataclass(frozen=True, slots=True)
class CancelRequested:
    """Somebody who may do so asks to cancel the order."""

    reason: Reason


Stimulus = ReplyReceived | DeadlinePassed | CancelRequested


class Outcome(StrEnum):
    """What became of a stimulus."""

    APPLIED = "applied"
    DUPLICATE = "duplicate"
    LATE = "late"
    """A reply to a step that was no longer waited for; a late success is undone."""
    IGNORED = "ignored"
    """Contradicts what is settled, or is not due yet: changes nothing."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What should happen: the saga's next value, the order's next status if it changes, and the events to emit, in
    that order. `emits` empty and `saga` unchanged means that nothing happens."""

    outcome: Outcome
    saga: Saga
    status: OrderStatus | None = None
    reason: Reason | None = None
    emits: tuple[EventType, ...] = ()


def start(order_id: UUID, timeouts: Mapping[StepName, timedelta], now: datetime) -> Saga:
    """A saga with the steps that have a timeout, in the table's order; the first is asked now (by `order.created`)."""
    steps = {step.name: StepState.NOT_ASKED for step in ORDER_SAGA if step.name in timeouts}
    first = next(iter(steps))
    steps[first] = StepState.ASKED
    return Saga(order_id, SagaState.RUNNING, steps, asked_at=now, deadline_at=now + timeouts[first])


def decide(saga: Saga, stimulus: Stimulus, now: datetime, timeouts: Mapping[StepName, timedelta]) -> Decision:
    """What `stimulus` means for `saga` at `now`. `timeouts` says how long a step asked now may take."""
    match stimulus:
        case ReplyReceived(step, success, reason):
            return _on_reply(saga, STEPS[step], success, reason, now, timeouts)
        case DeadlinePassed():
            return _on_deadline(saga, now)
        case CancelRequested(reason):
            return _on_cancel(saga, reason)
        case _:
            assert_never(stimulus)


def _on_reply(
    saga: Saga, step: Step, success: bool, reason: str, now: datetime, timeouts: Mapping[StepName, timedelta]
) -> Decision:
    state = saga.steps.get(step.name, StepState.NOT_ASKED)
    match state, success:
        case StepState.ASKED, True:
            return _advance(saga, {**saga.steps, step.name: StepState.HELD}, now, timeouts)
        case StepState.ASKED, False:
            refused = _with_step(saga, step, StepState.REFUSED)
            return _undo(refused, Reason(step.refused, reason or f"{step.name} was refused without a reason"))
        case ((StepState.ABANDONED | StepState.REFUSED), True):
            return Decision(Outcome.LATE, _with_step(saga, step, StepState.UNDONE), emits=(step.undo,))
        case StepState.ABANDONED, False:
            return Decision(Outcome.LATE, _with_step(saga, step, StepState.REFUSED))
        case ((StepState.HELD | StepState.UNDONE), True) | (StepState.REFUSED, False):
            return Decision(Outcome.DUPLICATE, saga)
        case _:
            return Decision(Outcome.IGNORED, saga)


def _advance(
    saga: Saga, steps: Mapping[StepName, StepState], now: datetime, timeouts: Mapping[StepName, timedelta]
) -> Decision:
    """Goes on with `steps`, the last of which to be asked is held now."""
    waiting = next((STEPS[name] for name, state in steps.items() if state is StepState.NOT_ASKED), None)
    if waiting is None:
        done = replace(saga, state=SagaState.COMPLETED, steps=steps, asked_at=None, deadline_at=None)
        return Decision(Outcome.APPLIED, done, OrderStatus.CONFIRMED, emits=(EventType.ORDER_CONFIRMED,))
    steps = {**steps, waiting.name: StepState.ASKED}
    asked = replace(saga, steps=steps, asked_at=now, deadline_at=now + timeouts[waiting.name])
    return Decision(Outcome.APPLIED, asked, emits=(waiting.ask,))


def _on_deadline(saga: Saga, now: datetime) -> Decision:
    waiting = saga.waiting_step()
    if waiting is None or saga.deadline_at is None or now < saga.deadline_at:
        return Decision(Outcome.IGNORED, saga)
    return _undo(saga, Reason(waiting.timed_out, f"no {waiting.answered_by} came in time"))


def _on_cancel(saga: Saga, reason: Reason) -> Decision:
    if saga.state is SagaState.UNDONE:
        return Decision(Outcome.DUPLICATE, saga)
    return _undo(saga, reason)


def _undo(saga: Saga, reason: Reason) -> Decision:
    """Cancels the order: gives up what is asked, asks to undo what is held, last step first."""
    held = [name for name, state in saga.steps.items() if state is StepState.HELD]
    after = {StepState.ASKED: StepState.ABANDONED, StepState.HELD: StepState.UNDONE}
    undone = replace(
        saga,
        state=SagaState.UNDONE,
        steps={name: after.get(state, state) for name, state in saga.steps.items()},
        asked_at=None,
        deadline_at=None,
    )
    emits = (EventType.ORDER_CANCELLED, *(STEPS[name].undo for name in reversed(held)))
    return Decision(Outcome.APPLIED, undone, OrderStatus.CANCELLED, reason, emits)


def _with_step(saga: Saga, step: Step, state: StepState) -> Saga:
    return replace(saga, steps={**saga.steps, step.name: state})


def steps_in_order(states: Mapping[str, str]) -> dict[StepName, StepState]:
    """Steps as they are stored, in the table's order. Raises ValueError for a name or state that is not known."""
    unknown = states.keys() - {step.name for step in ORDER_SAGA}
    if unknown:
        raise ValueError(f"unknown saga steps {sorted(unknown)}")
    return {step.name: StepState(states[step.name]) for step in ORDER_SAGA if step.name in states}
