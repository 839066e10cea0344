"""Says which promises a run broke, by what everybody outside of the service saw of it.

Guarantees: pure, and independent of what it judges: it imports nothing of the service, so that an error of the service
cannot be an error of its judge too. It is told nothing of the faults of a run, but for how many repeats they explain.

What it cannot see: what no witness saw. A run in which nothing went wrong says nothing about what is done when it does.
"""

from collections.abc import Iterator

from tests.faults.history import History
from tests.faults.rules import Rule, Violation
from tests.faults.rules.books import broken_by_books
from tests.faults.rules.calls import broken_by_calls
from tests.faults.rules.events import broken_by_events
from tests.faults.rules.events import repeats as _repeats

__all__ = ["Rule", "Violation", "judge", "repeats"]


def judge(history: History) -> list[Violation]:
    """Every rule that the run broke, with the order that broke it; empty if the service kept all its promises."""
    return [
        *broken_by_calls(history),
        *_broken_by_rows(history),
        *broken_by_events(history),
        *broken_by_books(history),
    ]


def repeats(history: History) -> int:
    """How many events came again under an id that had come before: what a crash between the broker's confirm and its
    mark may lead to. No violation, unless there are more than `most_repeats`."""
    return _repeats(history.events)


def _broken_by_rows(history: History) -> Iterator[Violation]:
    for order in history.orders:
        age = history.collected_at - order.created_at
        if order.status == "PENDING" and age > history.longest_wait:
            yield Violation(Rule.OUTCOME_IN_TIME, order.order_id, f"it is still PENDING after {age}")
    if history.unsent:
        yield Violation(Rule.NOTHING_UNSENT, "", f"{history.unsent} events wait to be sent")
    if history.parked != history.poison:
        told = f"{history.parked} messages are parked, where {history.poison} cannot be understood"
        yield Violation(Rule.PARKED_IS_POISON, "", told)
