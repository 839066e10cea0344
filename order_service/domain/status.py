"""The statuses of an order, and the table of the transitions between them."""

from collections.abc import Mapping
from enum import StrEnum


class OrderStatus(StrEnum):
    """Where an order is in its life."""

    PENDING = "PENDING"
    CONFIRMED = "CONFIRMED"
    CANCELLED = "CANCELLED"
    IN_PROGRESS = "IN_PROGRESS"
    DELIVERED = "DELIVERED"
    SUSPENDED = "SUSPENDED"
    TERMINATED = "TERMINATED"


class ReasonCode(StrEnum):
    """Why an order was cancelled: a closed list, for programs."""

    STOCK_REFUSED = "STOCK_REFUSED"
    STOCK_TIMEOUT = "STOCK_TIMEOUT"
    PAYMENT_REFUSED = "PAYMENT_REFUSED"
    PAYMENT_TIMEOUT = "PAYMENT_TIMEOUT"
    CANCELLED_BY_OWNER = "CANCELLED_BY_OWNER"
    CANCELLED_BY_STAFF = "CANCELLED_BY_STAFF"


class Actor(StrEnum):
    """Who may bring a transition about."""

    SAGA = "SAGA"
    OWNER = "OWNER"
    STAFF = "STAFF"
    TIMER = "TIMER"


_SAGA, _OWNER, _STAFF, _TIMER = Actor.SAGA, Actor.OWNER, Actor.STAFF, Actor.TIMER
_S = OrderStatus

TRANSITIONS: Mapping[OrderStatus, Mapping[OrderStatus, frozenset[Actor]]] = {
    _S.PENDING: {
        _S.CONFIRMED: frozenset({_SAGA}),
        _S.CANCELLED: frozenset({_SAGA, _OWNER, _STAFF}),
    },
    _S.CONFIRMED: {
        _S.CANCELLED: frozenset({_OWNER, _STAFF}),
        _S.IN_PROGRESS: frozenset({_STAFF}),
        _S.SUSPENDED: frozenset({_STAFF}),
        _S.TERMINATED: frozenset({_STAFF}),
    },
    _S.IN_PROGRESS: {
        _S.CANCELLED: frozenset({_STAFF}),
        _S.DELIVERED: frozenset({_STAFF}),
        _S.SUSPENDED: frozenset({_STAFF}),
        _S.TERMINATED: frozenset({_STAFF}),
    },
    _S.SUSPENDED: {
        _S.CONFIRMED: frozenset({_STAFF, _TIMER}),
        _S.IN_PROGRESS: frozenset({_STAFF, _TIMER}),
        _S.CANCELLED: frozenset({_STAFF}),
        _S.TERMINATED: frozenset({_STAFF}),
    },
    _S.CANCELLED: {},
    _S.DELIVERED: {},
    _S.TERMINATED: {},
}
"""From a status, the statuses it may go to, and by whom."""

FINAL_STATUSES = frozenset(status for status, targets in TRANSITIONS.items() if not targets)


def may_go(status: OrderStatus, target: OrderStatus, actor: Actor) -> bool:
    """Whether `actor` may bring an order from `status` to `target`."""
    return actor in TRANSITIONS[status].get(target, frozenset())


def targets(status: OrderStatus, actor: Actor) -> list[OrderStatus]:
    """The statuses to which `actor` may bring an order that has `status`."""
    return [target for target, actors in TRANSITIONS[status].items() if actor in actors]
