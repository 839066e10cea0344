"""The saga of an order by example: what comes in time, and each reply that comes at the wrong time."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from order_service.domain.events import REQUESTS, EventType
from order_service.domain.order import Reason
from order_service.domain.status import OrderStatus, ReasonCode
from order_service.saga.engine import (
    CancelRequested,
    DeadlinePassed,
    Decision,
    Outcome,
    ReplyReceived,
    SagaState,
    StepState,
    Stimulus,
    decide,
    start,
    steps_in_order,
)
from order_service.saga.order_saga import ORDER_SAGA, StepName

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
ORDER_ID = UUID("0198f2c0-7b3a-7c11-9d5e-2f1a3b4c5d6f")
STOCK_TIMEOUT, PAYMENT_TIMEOUT = timedelta(seconds=60), timedelta(seconds=90)
STOCK_ONLY = {StepName.STOCK: STOCK_TIMEOUT}
STOCK_AND_PAYMENT = {StepName.STOCK: STOCK_TIMEOUT, StepName.PAYMENT: PAYMENT_TIMEOUT}

IN_STOCK = ReplyReceived(StepName.STOCK, True)
SOLD_OUT = ReplyReceived(StepName.STOCK, False, "none left")
PAID = ReplyReceived(StepName.PAYMENT, True)
NOT_PAID = ReplyReceived(StepName.PAYMENT, False, "card declined")
TOO_LATE = DeadlinePassed()
CHANGED_MY_MIND = Reason(ReasonCode.CANCELLED_BY_OWNER, "changed my mind")
CANCEL = CancelRequested(CHANGED_MY_MIND)


def after(*stimuli: Stimulus, timeouts: Mapping[StepName, timedelta] = STOCK_ONLY) -> Decision:
    """What the last stimulus means, each coming at noon but for deadlines, which come when they are due."""
    saga = start(ORDER_ID, timeouts, NOON)
    decision = Decision(Outcome.IGNORED, saga)
    for stimulus in stimuli:
        now = saga.deadline_at or NOON if isinstance(stimulus, DeadlinePassed) else NOON
        decision = decide(saga, stimulus, now, timeouts)
        saga = decision.saga
    return decision


def test_a_new_saga_waits_for_stock_until_its_deadline() -> None:
    saga = start(ORDER_ID, STOCK_AND_PAYMENT, NOON)

    assert saga.state is SagaState.RUNNING
    assert saga.steps == {StepName.STOCK: StepState.ASKED, StepName.PAYMENT: StepState.NOT_ASKED}
    assert (saga.asked_at, saga.deadline_at) == (NOON, NOON + STOCK_TIMEOUT)


def test_stock_confirms_an_order_that_needs_nothing_else() -> None:
    decision = after(IN_STOCK)

    assert decision.outcome is Outcome.APPLIED
    assert decision.status is OrderStatus.CONFIRMED
    assert decision.emits == (EventType.ORDER_CONFIRMED,)
    assert decision.saga.state is SagaState.COMPLETED
    assert decision.saga.deadline_at is None


def test_refused_stock_cancels_with_the_peers_own_words_and_releases_nothing() -> None:
    decision = after(SOLD_OUT)

    assert decision.status is OrderStatus.CANCELLED
    assert decision.reason == Reason(ReasonCode.STOCK_REFUSED, "none left")
    assert decision.emits == (EventType.ORDER_CANCELLED,)


def test_a_refusal_without_a_reason_says_so() -> None:
    decision = after(ReplyReceived(StepName.STOCK, False))

    assert decision.reason == Reason(ReasonCode.STOCK_REFUSED, "stock was refused without a reason")


def test_a_deadline_that_passes_cancels_and_says_what_did_not_come() -> None:
    decision = after(TOO_LATE)

    assert decision.status is OrderStatus.CANCELLED
    assert decision.reason == Reason(ReasonCode.STOCK_TIMEOUT, "no StockUpdateResult came in time")
    assert decision.emits == (EventType.ORDER_CANCELLED,)


@pytest.mark.parametrize(("early_by", "outcome"), [(1, Outcome.IGNORED), (0, Outcome.APPLIED), (-1, Outcome.APPLIED)])
def test_a_deadline_counts_from_its_very_moment(early_by: int, outcome: Outcome) -> None:
    saga = start(ORDER_ID, STOCK_ONLY, NOON)

    decision = decide(saga, TOO_LATE, NOON + STOCK_TIMEOUT - timedelta(microseconds=early_by), STOCK_ONLY)

    assert decision.outcome is outcome


def test_a_success_after_the_deadline_but_before_anyone_acted_on_it_still_confirms() -> None:
    saga = start(ORDER_ID, STOCK_ONLY, NOON)

    decision = decide(saga, IN_STOCK, NOON + 2 * STOCK_TIMEOUT, STOCK_ONLY)

    assert decision.status is OrderStatus.CONFIRMED


def test_a_cancelled_pending_order_releases_nothing_that_it_does_not_hold() -> None:
    decision = after(CANCEL)

    assert decision.status is OrderStatus.CANCELLED
    assert decision.reason == CHANGED_MY_MIND
    assert decision.emits == (EventType.ORDER_CANCELLED,)


def test_a_cancelled_confirmed_order_releases_its_stock() -> None:
    decision = after(IN_STOCK, CANCEL)

    assert decision.status is OrderStatus.CANCELLED
    assert decision.emits == (EventType.ORDER_CANCELLED, EventType.STOCK_RELEASE_REQUESTED)


@pytest.mark.parametrize(
    "earlier",
    [(IN_STOCK,), (SOLD_OUT,), (TOO_LATE, IN_STOCK), (TOO_LATE, SOLD_OUT), (IN_STOCK, CANCEL)],
    ids=["confirmed", "refused", "late success", "late failure", "cancelled after stock"],
)
def test_the_same_reply_again_does_nothing(earlier: tuple[Stimulus, ...]) -> None:
    replies = [stimulus for stimulus in earlier if isinstance(stimulus, ReplyReceived)]
    before = after(*earlier)

    decision = after(*earlier, replies[-1])

    assert decision == Decision(Outcome.DUPLICATE, before.saga)


@pytest.mark.parametrize("cancelled_by", [TOO_LATE, CANCEL, SOLD_OUT], ids=["deadline", "request", "earlier failure"])
def test_a_late_success_releases_the_stock_once_and_the_order_stays_cancelled(cancelled_by: Stimulus) -> None:
    late = after(cancelled_by, IN_STOCK)
    again = after(cancelled_by, IN_STOCK, IN_STOCK)

    assert late.outcome is Outcome.LATE
    assert (late.status, late.reason) == (None, None)
    assert late.saga.state is SagaState.UNDONE
    assert late.emits == (EventType.STOCK_RELEASE_REQUESTED,)
    assert (again.outcome, again.emits) == (Outcome.DUPLICATE, ())


def test_a_late_failure_after_a_late_success_is_ignored() -> None:
    decision = after(TOO_LATE, IN_STOCK, SOLD_OUT)

    assert (decision.outcome, decision.emits) == (Outcome.IGNORED, ())


def test_a_success_after_a_late_failure_is_released() -> None:
    decision = after(TOO_LATE, SOLD_OUT, IN_STOCK)

    assert decision.emits == (EventType.STOCK_RELEASE_REQUESTED,)


def test_a_failure_for_a_confirmed_order_is_ignored() -> None:
    before = after(IN_STOCK)

    decision = after(IN_STOCK, SOLD_OUT)

    assert decision == Decision(Outcome.IGNORED, before.saga)


@pytest.mark.parametrize("earlier", [IN_STOCK, SOLD_OUT, CANCEL], ids=["confirmed", "refused", "cancelled"])
def test_a_deadline_means_nothing_once_the_saga_has_ended(earlier: Stimulus) -> None:
    saga = after(earlier).saga

    decision = decide(saga, TOO_LATE, NOON + 2 * STOCK_TIMEOUT, STOCK_ONLY)

    assert decision == Decision(Outcome.IGNORED, saga)


@pytest.mark.parametrize("earlier", [SOLD_OUT, TOO_LATE, CANCEL], ids=["refused", "timed out", "cancelled"])
def test_cancelling_a_cancelled_order_changes_nothing(earlier: Stimulus) -> None:
    before = after(earlier)

    decision = after(earlier, CANCEL)

    assert decision == Decision(Outcome.DUPLICATE, before.saga)


@pytest.mark.parametrize("reply", [PAID, NOT_PAID], ids=["paid", "not paid"])
def test_a_payment_result_for_an_order_without_a_payment_step_is_ignored(reply: Stimulus) -> None:
    decision = after(IN_STOCK, reply)

    assert (decision.outcome, decision.emits) == (Outcome.IGNORED, ())


@pytest.mark.parametrize("reply", [PAID, NOT_PAID], ids=["paid", "not paid"])
def test_a_payment_result_that_nobody_has_asked_for_yet_is_ignored(reply: Stimulus) -> None:
    decision = after(reply, timeouts=STOCK_AND_PAYMENT)

    assert (decision.outcome, decision.status, decision.emits) == (Outcome.IGNORED, None, ())


def test_stock_asks_for_payment_with_a_deadline_of_its_own() -> None:
    saga = start(ORDER_ID, STOCK_AND_PAYMENT, NOON)
    later = NOON + timedelta(seconds=59)

    decision = decide(saga, IN_STOCK, later, STOCK_AND_PAYMENT)

    assert decision.status is None
    assert decision.emits == (EventType.PAYMENT_REQUESTED,)
    assert decision.saga.steps == {StepName.STOCK: StepState.HELD, StepName.PAYMENT: StepState.ASKED}
    assert (decision.saga.asked_at, decision.saga.deadline_at) == (later, later + PAYMENT_TIMEOUT)


def test_payment_confirms_the_order() -> None:
    decision = after(IN_STOCK, PAID, timeouts=STOCK_AND_PAYMENT)

    assert decision.status is OrderStatus.CONFIRMED
    assert decision.emits == (EventType.ORDER_CONFIRMED,)


@pytest.mark.parametrize(
    ("stimulus", "reason"),
    [
        (NOT_PAID, Reason(ReasonCode.PAYMENT_REFUSED, "card declined")),
        (TOO_LATE, Reason(ReasonCode.PAYMENT_TIMEOUT, "no PaymentResult came in time")),
        (CANCEL, CHANGED_MY_MIND),
    ],
    ids=["refused", "timed out", "cancelled"],
)
def test_an_order_that_is_not_paid_for_releases_its_stock(stimulus: Stimulus, reason: Reason) -> None:
    decision = after(IN_STOCK, stimulus, timeouts=STOCK_AND_PAYMENT)

    assert (decision.status, decision.reason) == (OrderStatus.CANCELLED, reason)
    assert decision.emits == (EventType.ORDER_CANCELLED, EventType.STOCK_RELEASE_REQUESTED)


def test_a_late_payment_is_refunded_and_the_stock_is_not_released_again() -> None:
    decision = after(IN_STOCK, TOO_LATE, PAID, timeouts=STOCK_AND_PAYMENT)

    assert decision.outcome is Outcome.LATE
    assert decision.emits == (EventType.PAYMENT_REFUND_REQUESTED,)


def test_late_stock_is_released_and_no_payment_is_asked_for() -> None:
    decision = after(TOO_LATE, IN_STOCK, timeouts=STOCK_AND_PAYMENT)

    assert decision.emits == (EventType.STOCK_RELEASE_REQUESTED,)
    assert decision.saga.steps[StepName.PAYMENT] is StepState.NOT_ASKED


def test_undoing_a_confirmed_order_goes_backwards() -> None:
    decision = after(IN_STOCK, PAID, CANCEL, timeouts=STOCK_AND_PAYMENT)

    assert decision.emits == (
        EventType.ORDER_CANCELLED,
        EventType.PAYMENT_REFUND_REQUESTED,
        EventType.STOCK_RELEASE_REQUESTED,
    )


def test_a_saga_finishes_with_the_steps_it_was_started_with() -> None:
    started = start(ORDER_ID, STOCK_ONLY, NOON)

    decision = decide(started, IN_STOCK, NOON, STOCK_AND_PAYMENT)

    assert decision.status is OrderStatus.CONFIRMED


def test_what_a_step_asks_and_how_it_is_undone_must_reach_somebody() -> None:
    asked_and_undone = {event for step in ORDER_SAGA for event in (step.ask, step.undo)}

    assert asked_and_undone == REQUESTS


def test_stored_steps_come_back_in_the_tables_order() -> None:
    steps = steps_in_order({"payment": "NOT_ASKED", "stock": "HELD"})

    assert list(steps.items()) == [(StepName.STOCK, StepState.HELD), (StepName.PAYMENT, StepState.NOT_ASKED)]


@pytest.mark.parametrize("stored", [{"stock": "ASKED", "postage": "ASKED"}, {"stock": "LOST"}], ids=["step", "state"])
def test_stored_steps_that_nobody_knows_are_refused(stored: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"postage|LOST"):
        steps_in_order(stored)


def test_a_saga_waits_for_one_step_at_a_time() -> None:
    saga = after(IN_STOCK, timeouts=STOCK_AND_PAYMENT).saga

    waiting = saga.waiting_step()

    assert waiting is not None
    assert waiting.name is StepName.PAYMENT
    assert after(IN_STOCK).saga.waiting_step() is None
