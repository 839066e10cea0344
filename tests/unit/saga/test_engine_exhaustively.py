"""All interleavings of everything that can happen to a saga, and what must hold whatever comes.

A state of the world is the order, its saga, its events, and which steps the peers have said yes to. Breadth first, each
state is looked at once, with every stimulus, at once and at the deadline. After a few stimuli no new state comes, so
that longer sequences are covered too. The rules are those of the contract, checked on what is emitted: they do not ask
the engine. Broken engines show that each rule bites.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID

import pytest

from order_service.domain.events import EventType
from order_service.domain.money import Money
from order_service.domain.order import Order, Reason
from order_service.domain.status import OrderStatus, ReasonCode
from order_service.saga import engine
from order_service.saga.engine import (
    CancelRequested,
    DeadlinePassed,
    Decision,
    Outcome,
    ReplyReceived,
    Saga,
    SagaState,
    StepState,
    Stimulus,
    start,
)
from order_service.saga.order_saga import ORDER_SAGA, STEPS, StepName
from order_service.storage.orders import LockedOrder
from order_service.use_cases import advance_sagas
from order_service.use_cases.advance_sagas import Advance, Emitted, SagaRules, advance, begin

Timeouts = Mapping[StepName, timedelta]

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
ORDER_ID = UUID("0198f2c0-7b3a-7c11-9d5e-2f1a3b4c5d6f")
DEPTH = 8

STOCK_ONLY: Timeouts = {StepName.STOCK: timedelta(seconds=60)}
STOCK_AND_PAYMENT: Timeouts = {StepName.STOCK: timedelta(seconds=60), StepName.PAYMENT: timedelta(seconds=90)}
SAGAS = [pytest.param(STOCK_ONLY, id="stock"), pytest.param(STOCK_AND_PAYMENT, id="stock and payment")]

STIMULI: Mapping[str, Stimulus] = {
    **{f"{name} success": ReplyReceived(name, True) for name in StepName},
    **{f"{name} failure": ReplyReceived(name, False, "none left") for name in StepName},
    "deadline": DeadlinePassed(),
    "cancel": CancelRequested(Reason(ReasonCode.CANCELLED_BY_OWNER, "changed my mind")),
}
UNDO_EVENTS = {step.undo: step for step in ORDER_SAGA}


@dataclass(frozen=True)
class World:
    """What there is at a moment; `succeeded`: the steps that were asked for and that their peer has said yes to."""

    order: Order
    saga: Saga
    events: tuple[Emitted, ...]
    succeeded: frozenset[StepName]
    now: datetime
    path: tuple[str, ...]

    @property
    def types(self) -> list[EventType]:
        return [event.type for event in self.events]

    @property
    def key(self) -> object:
        """Equal for worlds with the same future, and the same past as far as the rules look at it."""
        saga = (self.saga.state, *self.saga.steps.items(), self.saga.asked_at, self.saga.deadline_at)
        return self.order, saga, self.events, self.succeeded, self.now


@dataclass(frozen=True)
class Move:
    """One stimulus and what it did."""

    before: World
    stimulus: Stimulus
    after: World
    outcome: Outcome
    again: Advance

    @property
    def new(self) -> Sequence[Emitted]:
        return self.after.events[len(self.before.events) :]


Rule = Callable[[Move], bool]
StepTaken = Callable[[Advance, Stimulus, str, SagaRules], tuple[Advance, Outcome]]


def first_world(timeouts: Timeouts) -> World:
    """The order just stored, and order.created with it, by a clock that is ahead of PostgreSQL's."""
    ahead = NOON + timedelta(seconds=5)
    order = Order(ORDER_ID, "ada", Money("USD", 3998), OrderStatus.PENDING, 1, ahead, ahead)
    created = Emitted(EventType.ORDER_CREATED, order, "")
    return World(order, start(ORDER_ID, timeouts, NOON), (created,), frozenset(), NOON, ())


def moves(world: World, timeouts: Timeouts, step: StepTaken) -> Iterator[Move]:
    """What can happen next: each stimulus, now and (where there is a deadline) at the deadline."""
    rules = SagaRules(timeouts, lambda: ORDER_ID)
    times = {"": world.now, " at the deadline": max(world.now, world.saga.deadline_at or world.now)}
    for name, stimulus in STIMULI.items():
        for when, now in times.items():
            if not when or now > world.now:
                locked = begin(LockedOrder(world.order, world.saga, "", now))
                done, outcome = step(locked, stimulus, "", rules)
                again, _ = step(done, stimulus, "", rules)
                yield Move(world, stimulus, _after(world, name + when, stimulus, done), outcome, again)


def _after(world: World, name: str, stimulus: Stimulus, done: Advance) -> World:
    return World(
        order=done.order,
        saga=done.saga,
        events=(*world.events, *done.emitted),
        succeeded=world.succeeded | _says_yes_to_what_was_asked(world, stimulus),
        now=done.locked.now,
        path=(*world.path, name),
    )


def _says_yes_to_what_was_asked(world: World, stimulus: Stimulus) -> frozenset[StepName]:
    match stimulus:
        case ReplyReceived(step, True) if STEPS[step].ask in world.types:
            return frozenset({step})
    return frozenset()


@dataclass
class Exploration:
    """All that was seen: `new` counts the states that were new after each number of stimuli."""

    worlds: list[World]
    new: list[int]
    broken: dict[str, tuple[str, ...]]


def explore(timeouts: Timeouts, step: StepTaken = advance) -> Exploration:
    """Every world that up to DEPTH stimuli lead to, and the shortest path to a breach of each rule. Does not go on from
    a breach."""
    frontier = [first_world(timeouts)]
    seen = {frontier[0].key}
    found = Exploration(list(frontier), [], {})
    for _ in range(DEPTH):
        reached: list[World] = []
        for move in (move for world in frontier for move in moves(world, timeouts, step)):
            broken = [name for name, rule in RULES.items() if not rule(move)]
            for name in broken:
                found.broken.setdefault(name, move.after.path)
            if not broken and move.after.key not in seen:
                seen.add(move.after.key)
                reached.append(move.after)
        found.worlds.extend(reached)
        found.new.append(len(reached))
        frontier = reached
    return found


def confirmed_and_cancelled_at_most_once_and_never_confirmed_after_cancelled(move: Move) -> bool:
    outcomes = [kind for kind in move.after.types if kind in (EventType.ORDER_CONFIRMED, EventType.ORDER_CANCELLED)]
    return outcomes in (
        [],
        [EventType.ORDER_CONFIRMED],
        [EventType.ORDER_CANCELLED],
        [EventType.ORDER_CONFIRMED, EventType.ORDER_CANCELLED],
    )


def the_status_is_what_the_events_say(move: Move) -> bool:
    types = move.after.types
    if EventType.ORDER_CANCELLED in types:
        return move.after.order.status is OrderStatus.CANCELLED
    confirmed = EventType.ORDER_CONFIRMED in types
    return move.after.order.status is (OrderStatus.CONFIRMED if confirmed else OrderStatus.PENDING)


def each_event_comes_once(move: Move) -> bool:
    return max(Counter(move.after.types).values()) == 1


def versions_are_1_2_3_without_gaps(move: Move) -> bool:
    versions = [event.order.version for event in move.after.events]
    return versions == list(range(1, len(versions) + 1)) and move.after.order.version == len(versions)


def events_never_go_back_in_time(move: Move) -> bool:
    times = [event.order.updated_at for event in move.after.events]
    return all(earlier <= later for earlier, later in pairwise(times))


def confirmed_only_after_every_step_succeeded(move: Move) -> bool:
    return EventType.ORDER_CONFIRMED not in move.after.types or move.after.succeeded >= move.after.saga.steps.keys()


def a_step_is_asked_only_when_those_before_it_succeeded(move: Move) -> bool:
    steps = list(move.after.saga.steps)
    return all(
        move.after.succeeded >= set(steps[:place]) and move.before.order.status is OrderStatus.PENDING
        for place, name in enumerate(steps)
        if STEPS[name].ask in [event.type for event in move.new]
    )


def held_only_for_an_order_that_is_or_may_become_confirmed(move: Move) -> bool:
    held = {name for name, state in move.after.saga.steps.items() if state is StepState.HELD}
    match move.after.order.status:
        case OrderStatus.CANCELLED:
            return not held
        case OrderStatus.CONFIRMED:
            return held == move.after.saga.steps.keys()
        case _:
            return held == move.after.succeeded


def undoing_is_asked_for_once_exactly_if_a_success_came_for_a_cancelled_order(move: Move) -> bool:
    cancelled = move.after.order.status is OrderStatus.CANCELLED
    undone = Counter(UNDO_EVENTS[kind].name for kind in move.after.types if kind in UNDO_EVENTS)
    return undone == Counter(move.after.succeeded if cancelled else ())


def undoing_goes_backwards_after_the_cancellation(move: Move) -> bool:
    table = [EventType.ORDER_CANCELLED, *(step.undo for step in reversed(ORDER_SAGA))]
    places = [table.index(event.type) for event in move.new if event.type in table]
    return places == sorted(places)


def a_running_saga_ends_at_its_deadlines(move: Move) -> bool:
    saga = move.after.saga
    for _ in saga.steps:
        if saga.deadline_at is not None:
            due = begin(LockedOrder(move.after.order, saga, "", max(move.after.now, saga.deadline_at)))
            saga = advance(due, DeadlinePassed(), "", SagaRules(STOCK_AND_PAYMENT, lambda: ORDER_ID))[0].saga
    return saga.state is not SagaState.RUNNING


def a_deadline_is_set_exactly_while_a_reply_is_waited_for(move: Move) -> bool:
    saga = move.after.saga
    return (saga.state is SagaState.RUNNING) == (saga.deadline_at is not None) == (saga.waiting_step() is not None)


def a_deadline_does_nothing_before_it_is_due(move: Move) -> bool:
    due = move.before.saga.deadline_at is not None and move.after.now >= move.before.saga.deadline_at
    return due or not isinstance(move.stimulus, DeadlinePassed) or not move.new


def the_saga_ends_as_the_order_does(move: Move) -> bool:
    return {
        OrderStatus.PENDING: SagaState.RUNNING,
        OrderStatus.CONFIRMED: SagaState.COMPLETED,
        OrderStatus.CANCELLED: SagaState.UNDONE,
    }[move.after.order.status] is move.after.saga.state


def the_same_again_does_nothing(move: Move) -> bool:
    return len(move.again.emitted) == len(move.new) and move.again.order == move.after.order


def what_is_ignored_or_a_duplicate_changes_nothing(move: Move) -> bool:
    changed = move.before.saga != move.after.saga or bool(move.new)
    return changed == (move.outcome in (Outcome.APPLIED, Outcome.LATE))


def a_cancelled_order_has_the_reason_of_what_cancelled_it(move: Move) -> bool:
    if move.after.order.status is not OrderStatus.CANCELLED:
        return move.after.order.reason is None
    if move.before.order.status is OrderStatus.CANCELLED:
        return move.after.order.reason == move.before.order.reason
    reason = move.after.order.reason
    return reason is not None and reason.code is _expected_code(move)


def _expected_code(move: Move) -> ReasonCode | None:
    waiting = move.before.saga.waiting_step()
    match move.stimulus:
        case ReplyReceived(step):
            return STEPS[step].refused
        case DeadlinePassed():
            return waiting.timed_out if waiting else None
        case CancelRequested(reason):
            return reason.code


RULES: Mapping[str, Rule] = {
    rule.__name__: rule
    for rule in (
        confirmed_and_cancelled_at_most_once_and_never_confirmed_after_cancelled,
        the_status_is_what_the_events_say,
        each_event_comes_once,
        versions_are_1_2_3_without_gaps,
        events_never_go_back_in_time,
        confirmed_only_after_every_step_succeeded,
        a_step_is_asked_only_when_those_before_it_succeeded,
        held_only_for_an_order_that_is_or_may_become_confirmed,
        undoing_is_asked_for_once_exactly_if_a_success_came_for_a_cancelled_order,
        undoing_goes_backwards_after_the_cancellation,
        a_running_saga_ends_at_its_deadlines,
        a_deadline_is_set_exactly_while_a_reply_is_waited_for,
        a_deadline_does_nothing_before_it_is_due,
        the_saga_ends_as_the_order_does,
        the_same_again_does_nothing,
        what_is_ignored_or_a_duplicate_changes_nothing,
        a_cancelled_order_has_the_reason_of_what_cancelled_it,
    )
}


@pytest.mark.parametrize("timeouts", SAGAS)
def test_every_rule_holds_after_every_sequence_of_stimuli(timeouts: Timeouts) -> None:
    found = explore(timeouts)

    assert found.broken == {}


@pytest.mark.parametrize("timeouts", SAGAS)
def test_no_longer_sequence_leads_anywhere_else(timeouts: Timeouts) -> None:
    found = explore(timeouts)

    assert found.new[0] > 0
    assert found.new[-1] == 0


@pytest.mark.parametrize(
    ("timeouts", "ends"),
    [
        pytest.param(
            STOCK_ONLY,
            {
                "created",
                "created confirmed",
                "created cancelled",
                "created cancelled stock_release_requested",
                "created confirmed cancelled stock_release_requested",
            },
            id="stock",
        ),
        pytest.param(
            STOCK_AND_PAYMENT,
            {
                "created",
                "created cancelled",
                "created cancelled stock_release_requested",
                "created payment_requested",
                "created payment_requested confirmed",
                "created payment_requested cancelled stock_release_requested",
                "created payment_requested cancelled stock_release_requested payment_refund_requested",
                "created payment_requested confirmed cancelled payment_refund_requested stock_release_requested",
            },
            id="stock and payment",
        ),
    ],
)
def test_these_are_all_the_histories_that_an_order_can_have(timeouts: Timeouts, ends: set[str]) -> None:
    found = explore(timeouts)

    assert {" ".join(kind.removeprefix("order.") for kind in world.types) for world in found.worlds} == ends


Decide = Callable[[Saga, Stimulus, datetime, Timeouts], Decision]


def late_success_is_ignored(saga: Saga, stimulus: Stimulus, now: datetime, timeouts: Timeouts) -> Decision:
    decision = engine.decide(saga, stimulus, now, timeouts)
    return Decision(Outcome.IGNORED, saga) if decision.outcome is Outcome.LATE else decision


def late_success_confirms(saga: Saga, stimulus: Stimulus, now: datetime, timeouts: Timeouts) -> Decision:
    decision = engine.decide(saga, stimulus, now, timeouts)
    if decision.outcome is Outcome.LATE and decision.emits:
        return replace(decision, status=OrderStatus.CONFIRMED, emits=(EventType.ORDER_CONFIRMED,))
    return decision


def success_again_releases_again(saga: Saga, stimulus: Stimulus, now: datetime, timeouts: Timeouts) -> Decision:
    decision = engine.decide(saga, stimulus, now, timeouts)
    if isinstance(stimulus, ReplyReceived) and saga.steps.get(stimulus.step) is StepState.UNDONE and stimulus.success:
        return Decision(Outcome.LATE, saga, emits=(STEPS[stimulus.step].undo,))
    return decision


def refused_steps_are_released_too(saga: Saga, stimulus: Stimulus, now: datetime, timeouts: Timeouts) -> Decision:
    decision = engine.decide(saga, stimulus, now, timeouts)
    if decision.outcome is Outcome.APPLIED and isinstance(stimulus, ReplyReceived) and not stimulus.success:
        return replace(decision, emits=(*decision.emits, STEPS[stimulus.step].undo))
    return decision


def undoing_goes_forwards(saga: Saga, stimulus: Stimulus, now: datetime, timeouts: Timeouts) -> Decision:
    decision = engine.decide(saga, stimulus, now, timeouts)
    return replace(decision, emits=(*decision.emits[:1], *reversed(decision.emits[1:])))


def released_before_it_is_cancelled(saga: Saga, stimulus: Stimulus, now: datetime, timeouts: Timeouts) -> Decision:
    decision = engine.decide(saga, stimulus, now, timeouts)
    return replace(decision, emits=(*decision.emits[1:], *decision.emits[:1]))


def cancelling_a_confirmed_order_releases_nothing(
    saga: Saga, stimulus: Stimulus, now: datetime, timeouts: Timeouts
) -> Decision:
    decision = engine.decide(saga, stimulus, now, timeouts)
    return replace(decision, emits=decision.emits[:1]) if saga.state is SagaState.COMPLETED else decision


def deadline_is_ignored(saga: Saga, stimulus: Stimulus, now: datetime, timeouts: Timeouts) -> Decision:
    if isinstance(stimulus, DeadlinePassed):
        return Decision(Outcome.IGNORED, saga)
    return engine.decide(saga, stimulus, now, timeouts)


def deadline_is_not_compared(saga: Saga, stimulus: Stimulus, now: datetime, timeouts: Timeouts) -> Decision:
    return engine.decide(saga, stimulus, saga.deadline_at or now, timeouts)


def deadline_stays_after_the_end(saga: Saga, stimulus: Stimulus, now: datetime, timeouts: Timeouts) -> Decision:
    decision = engine.decide(saga, stimulus, now, timeouts)
    return replace(decision, saga=replace(decision.saga, deadline_at=saga.deadline_at))


def payment_has_no_deadline(saga: Saga, stimulus: Stimulus, now: datetime, timeouts: Timeouts) -> Decision:
    decision = engine.decide(saga, stimulus, now, timeouts)
    asked = EventType.PAYMENT_REQUESTED in decision.emits
    return replace(decision, saga=replace(decision.saga, deadline_at=None)) if asked else decision


def confirmed_before_payment(saga: Saga, stimulus: Stimulus, now: datetime, timeouts: Timeouts) -> Decision:
    decision = engine.decide(saga, stimulus, now, timeouts)
    if EventType.PAYMENT_REQUESTED not in decision.emits:
        return decision
    emits = (EventType.ORDER_CONFIRMED, EventType.PAYMENT_REQUESTED)
    return replace(decision, status=OrderStatus.CONFIRMED, emits=emits)


def payment_is_asked_at_once(saga: Saga, stimulus: Stimulus, now: datetime, timeouts: Timeouts) -> Decision:
    if saga.steps.get(StepName.PAYMENT) is StepState.NOT_ASKED and isinstance(stimulus, DeadlinePassed):
        asked = replace(saga, steps={**saga.steps, StepName.PAYMENT: StepState.ASKED})
        return Decision(Outcome.APPLIED, asked, emits=(EventType.PAYMENT_REQUESTED,))
    return engine.decide(saga, stimulus, now, timeouts)


def failure_cancels_a_confirmed_order(saga: Saga, stimulus: Stimulus, now: datetime, timeouts: Timeouts) -> Decision:
    decision = engine.decide(saga, stimulus, now, timeouts)
    if saga.state is SagaState.COMPLETED and isinstance(stimulus, ReplyReceived) and not stimulus.success:
        reason = Reason(STEPS[stimulus.step].refused, stimulus.reason)
        return Decision(Outcome.APPLIED, saga, OrderStatus.CANCELLED, reason, (EventType.ORDER_CANCELLED,))
    return decision


def cancelling_again_cancels_again(saga: Saga, stimulus: Stimulus, now: datetime, timeouts: Timeouts) -> Decision:
    if isinstance(stimulus, CancelRequested) and saga.state is SagaState.UNDONE:
        emits = (EventType.ORDER_CANCELLED,)
        return Decision(Outcome.APPLIED, saga, OrderStatus.CANCELLED, stimulus.reason, emits)
    return engine.decide(saga, stimulus, now, timeouts)


def the_reason_is_another_steps(saga: Saga, stimulus: Stimulus, now: datetime, timeouts: Timeouts) -> Decision:
    decision = engine.decide(saga, stimulus, now, timeouts)
    if decision.reason and decision.reason.code is ReasonCode.PAYMENT_REFUSED:
        return replace(decision, reason=Reason(ReasonCode.STOCK_REFUSED, decision.reason.text))
    return decision


def the_status_is_forgotten(saga: Saga, stimulus: Stimulus, now: datetime, timeouts: Timeouts) -> Decision:
    return replace(engine.decide(saga, stimulus, now, timeouts), status=None)


def a_duplicate_counts_as_applied(saga: Saga, stimulus: Stimulus, now: datetime, timeouts: Timeouts) -> Decision:
    decision = engine.decide(saga, stimulus, now, timeouts)
    return replace(decision, outcome=Outcome.APPLIED) if decision.outcome is Outcome.DUPLICATE else decision


RELEASE_RULE = undoing_is_asked_for_once_exactly_if_a_success_came_for_a_cancelled_order
OUTCOME_RULE = confirmed_and_cancelled_at_most_once_and_never_confirmed_after_cancelled


@pytest.mark.parametrize(
    ("broken", "rule"),
    [
        (late_success_is_ignored, RELEASE_RULE),
        (late_success_confirms, OUTCOME_RULE),
        (success_again_releases_again, each_event_comes_once),
        (success_again_releases_again, the_same_again_does_nothing),
        (refused_steps_are_released_too, RELEASE_RULE),
        (undoing_goes_forwards, undoing_goes_backwards_after_the_cancellation),
        (released_before_it_is_cancelled, undoing_goes_backwards_after_the_cancellation),
        (cancelling_a_confirmed_order_releases_nothing, RELEASE_RULE),
        (deadline_is_ignored, a_running_saga_ends_at_its_deadlines),
        (deadline_is_not_compared, a_deadline_does_nothing_before_it_is_due),
        (deadline_stays_after_the_end, a_deadline_is_set_exactly_while_a_reply_is_waited_for),
        (payment_has_no_deadline, a_running_saga_ends_at_its_deadlines),
        (confirmed_before_payment, confirmed_only_after_every_step_succeeded),
        (confirmed_before_payment, the_saga_ends_as_the_order_does),
        (confirmed_before_payment, held_only_for_an_order_that_is_or_may_become_confirmed),
        (payment_is_asked_at_once, a_step_is_asked_only_when_those_before_it_succeeded),
        (failure_cancels_a_confirmed_order, held_only_for_an_order_that_is_or_may_become_confirmed),
        (failure_cancels_a_confirmed_order, RELEASE_RULE),
        (cancelling_again_cancels_again, OUTCOME_RULE),
        (the_reason_is_another_steps, a_cancelled_order_has_the_reason_of_what_cancelled_it),
        (the_status_is_forgotten, the_status_is_what_the_events_say),
        (a_duplicate_counts_as_applied, what_is_ignored_or_a_duplicate_changes_nothing),
    ],
    ids=lambda value: value.__name__,
)
def test_the_rule_finds_a_broken_engine(broken: Decide, rule: Rule, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(advance_sagas, "decide", broken)

    found = explore(STOCK_AND_PAYMENT)

    assert rule.__name__ in found.broken


def numbered_by_the_locked_order(
    so_far: Advance, stimulus: Stimulus, traceparent: str, rules: SagaRules
) -> tuple[Advance, Outcome]:
    done, outcome = advance(so_far, stimulus, traceparent, rules)
    return _with_new_events(so_far, done, version=so_far.order.version + 1), outcome


def dated_by_another_clock(
    so_far: Advance, stimulus: Stimulus, traceparent: str, rules: SagaRules
) -> tuple[Advance, Outcome]:
    done, outcome = advance(so_far, stimulus, traceparent, rules)
    return _with_new_events(so_far, done, updated_at=NOON - timedelta(seconds=1)), outcome


def _with_new_events(so_far: Advance, done: Advance, **changes: Any) -> Advance:
    new = [replace(event, order=replace(event.order, **changes)) for event in done.emitted[len(so_far.emitted) :]]
    return replace(done, order=new[-1].order if new else done.order, emitted=(*so_far.emitted, *new))


@pytest.mark.parametrize(
    ("broken", "rule"),
    [
        (numbered_by_the_locked_order, versions_are_1_2_3_without_gaps),
        (dated_by_another_clock, events_never_go_back_in_time),
    ],
    ids=lambda value: value.__name__,
)
def test_the_rule_finds_broken_numbering_and_dating(broken: StepTaken, rule: Rule) -> None:
    found = explore(STOCK_AND_PAYMENT, broken)

    assert rule.__name__ in found.broken
