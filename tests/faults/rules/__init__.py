"""What must hold of a run, one module for each kind of witness. Nothing here knows the service's code."""

from dataclasses import dataclass
from enum import StrEnum


class Rule(StrEnum):
    """What can be broken. Each is a sentence that is true of the service."""

    ACKNOWLEDGED_IS_STORED = "ACKNOWLEDGED_IS_STORED"
    """An order that any answer told of is there in the end."""
    STORED_AS_ASKED = "STORED_AS_ASKED"
    """An acknowledged order belongs to who asked for it, and holds what was asked for."""
    ASKED_FOR = "ASKED_FOR"
    """Each order that is stored was asked for by some call, answered or not."""
    ONE_ORDER_FOR_A_REQUEST = "ONE_ORDER_FOR_A_REQUEST"
    """A repeated request_id is answered with the same order each time, and never makes a second one."""
    FIRST_ANSWER_AGAIN = "FIRST_ANSWER_AGAIN"
    """CreateOrder answers PENDING, also when the order has come further since."""
    READS_AGREE = "READS_AGREE"
    """What was read once is never taken back: no order is unknown once it was told of, none goes back in its life."""
    CANCELLED_IF_SO_ANSWERED = "CANCELLED_IF_SO_ANSWERED"
    """An order whose cancellation was answered with OK is cancelled."""
    CODES_OF_THE_CONTRACT = "CODES_OF_THE_CONTRACT"
    """A request that is right is answered with OK, or with a code that says to try again."""

    OUTCOME_IN_TIME = "OUTCOME_IN_TIME"
    """An order whose deadline is past has its outcome."""
    NOT_GIVEN_UP_EARLY = "NOT_GIVEN_UP_EARLY"
    """No order is cancelled for a deadline that has not come."""
    NOTHING_UNSENT = "NOTHING_UNSENT"
    """In the end no event waits to be sent."""
    PARKED_IS_POISON = "PARKED_IS_POISON"
    """What nobody can understand is parked, each once, and nothing else is."""

    EVENT_OF_AN_ORDER = "EVENT_OF_AN_ORDER"
    """Each event is of an order that is stored, and tells its user, items and total as they are."""
    EVERY_EVENT = "EVERY_EVENT"
    """Each event came at least once: versions without a gap, up to the order's own."""
    VERSION_ORDER = "VERSION_ORDER"
    """The events of an order came first in version order."""
    ONE_ID_FOR_AN_EVENT = "ONE_ID_FOR_AN_EVENT"
    """A version has one id, and an id belongs to one version of one order."""
    REPEATS_ALIKE = "REPEATS_ALIKE"
    """What comes again under its id is the same to the byte."""
    REPEATS_EXPLAINED = "REPEATS_EXPLAINED"
    """No more events come again than crashes and lost connections explain."""
    EVENTS_OF_THE_CONTRACT = "EVENTS_OF_THE_CONTRACT"
    """order.created comes first, and each event may follow those before it and tells the status that belongs to it."""
    ONE_OUTCOME = "ONE_OUTCOME"
    """The saga of an order ends once: never confirmed twice, cancelled twice, or confirmed after it was cancelled."""
    CANCELLED_FOR_CAUSE = "CANCELLED_FOR_CAUSE"
    """The reason for which an order was cancelled is one that somebody gave: a refusal, a request, a deadline."""
    ROW_AS_TOLD = "ROW_AS_TOLD"
    """The order's row says what its last event said."""

    PEER_ASKED = "PEER_ASKED"
    """The stock service was asked about every order, the payment service about those that its request was told of."""
    BOOKED_FOR_AN_ORDER = "BOOKED_FOR_AN_ORDER"
    """Nothing was taken or undone for an order that does not exist, or in other quantities than it has."""
    ASKED_ONCE = "ASKED_ONCE"
    """No peer is asked twice for one order under two ids: it could not know that it is the same."""
    HELD_IF_CONFIRMED = "HELD_IF_CONFIRMED"
    """For a confirmed order stock is taken, and paid for if payment is a step, and neither is undone."""
    UNDONE_IF_CANCELLED = "UNDONE_IF_CANCELLED"
    """For a cancelled order nothing is kept."""
    UNDONE_ONCE = "UNDONE_ONCE"
    """What is undone is undone once, and only if it was held."""
    PAID_AFTER_TAKEN = "PAID_AFTER_TAKEN"
    """No money is asked for an order whose stock was not taken."""


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule that is broken, by which order (empty if by none in particular), and how, in words."""

    rule: Rule
    order_id: str
    told: str
