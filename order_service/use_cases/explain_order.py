"""Says why an order is where it is and what it waits for."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from order_service.domain.order import Order
from order_service.saga.engine import Saga
from order_service.storage.events import RecordedEvent
from order_service.storage.outbox import UnsentEvent
from order_service.storage.unit_of_work import UnitOfWork
from order_service.use_cases.read_orders import Wanted, get_order

_HISTORY = 1_000


@dataclass(frozen=True, slots=True)
class Explanation:
    """Everything that is known about where an order stands at `now` (PostgreSQL's clock)."""

    order: Order
    saga: Saga
    now: datetime
    events: tuple[RecordedEvent, ...]
    unsent: tuple[UnsentEvent, ...]

    @property
    def waiting_for(self) -> str:
        """The message the saga waits for, or empty."""
        step = self.saga.waiting_step()
        return step.answered_by if step else ""

    @property
    def waited(self) -> timedelta:
        """How long it has waited."""
        return self.now - self.saga.asked_at if self.saga.asked_at else timedelta()

    @property
    def last_event(self) -> RecordedEvent | None:
        """What happened to it last."""
        return self.events[-1] if self.events else None

    @property
    def sentence(self) -> str:
        """All of it in one sentence."""
        return f"{self.order.status}: {'; '.join([_why(self), *_delivery(self)])}"


async def explain_order(unit_of_work: UnitOfWork, wanted: Wanted) -> Explanation:
    """Raises OrderNotFound."""
    order = await get_order(unit_of_work, wanted)
    found = await unit_of_work.sagas.get(order.order_id)
    if found is None:
        raise LookupError(f"order {order.order_id} has no saga")
    events = await unit_of_work.events.page(order.order_id, order.created_at, 0, _HISTORY)
    unsent = await unit_of_work.outbox.unsent_of_order(order.order_id)
    return Explanation(order, found.saga, found.now, tuple(events), tuple(unsent))


def _why(explanation: Explanation) -> str:
    saga, order = explanation.saga, explanation.order
    if explanation.waiting_for and saga.deadline_at:
        left = saga.deadline_at - explanation.now
        deadline = (
            f"deadline in {_seconds(left)}"
            if left > timedelta()
            else f"deadline passed {_seconds(-left)} ago and is about to be acted upon"
        )
        return f"waiting for {explanation.waiting_for} for {_seconds(explanation.waited)}, {deadline}"
    if order.reason:
        return f"{order.reason.code}" + (f" ({order.reason.text})" if order.reason.text else "")
    return "every step of the saga succeeded"


def _delivery(explanation: Explanation) -> Sequence[str]:
    """What is known about the messages: what waits in the outbox, else the last that the broker confirmed."""
    if explanation.unsent:
        return [_unsent(event) for event in explanation.unsent]
    confirmed = [event for event in explanation.events if event.confirmed_at]
    return [f"{last.type} was confirmed by the broker at {last.confirmed_at:%H:%M:%S}" for last in confirmed[-1:]]


def _unsent(event: UnsentEvent) -> str:
    if event.due_at is None:
        return f"{event.type} is parked after {event.attempts} attempts ({event.last_failure})"
    if event.attempts:
        return (
            f"{event.type} has not been taken by the broker after {event.attempts} attempts"
            f" ({event.last_failure}), next at {event.due_at:%H:%M:%S}"
        )
    return f"{event.type} waits in the outbox"


def _seconds(span: timedelta) -> str:
    return f"{max(0, round(span.total_seconds()))} s"
