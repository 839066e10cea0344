"""What everybody outside of the service saw of a run. It is all that the judge is given.

Nothing here comes from the service's code: calls and answers as the gateway saw them, messages as a recording consumer
saw them, the books of the stock and the payment service, and the rows as they are in the end.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any


@dataclass(frozen=True, slots=True)
class Call:
    """One RPC that was sent, and what came of it. Times are monotonic, in seconds."""

    rpc: str
    user_id: str
    began_at: float
    ended_at: float
    code: str
    """The gRPC code's name ("OK", "UNAVAILABLE", ...); empty if no answer ever came."""
    request_id: str = ""
    content: str = ""
    """What a CreateOrder asked for, in one canonical text (see `content_of`); empty for other calls."""
    order_id: str = ""
    """The order that was asked about, or that the answer holds."""
    status: str = ""
    """The order's status in the answer, such as "PENDING"."""


@dataclass(frozen=True, slots=True)
class Event:
    """A message as the recording consumer got it, repeats included, in the order of arrival."""

    message_id: str
    type: str
    body: Mapping[str, Any]
    raw: bytes


class Entry(StrEnum):
    """What a peer did on being asked."""

    TAKEN = "TAKEN"
    """Stock was taken, or money charged."""
    REFUSED = "REFUSED"
    IGNORED = "IGNORED"
    """It was asked, and never answers."""
    UNDONE = "UNDONE"
    """Stock was released, or money refunded."""


@dataclass(frozen=True, slots=True)
class Booking:
    """A line in the books of the stock or the payment service: one for each message it got, repeats included."""

    entry: Entry
    order_id: str
    message_id: str
    quantities: Mapping[str, int]
    """How many of each product; empty for money."""


@dataclass(frozen=True, slots=True)
class StoredOrder:
    """An order's row in the end."""

    order_id: str
    user_id: str
    content: str
    status: str
    version: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class History:
    """All of it. Each request of a run is made by a user of its own, or asks for something that no other one does."""

    calls: tuple[Call, ...]
    events: tuple[Event, ...]
    stock: tuple[Booking, ...]
    payments: tuple[Booking, ...]
    """Empty if the saga has no payment step."""
    with_payment: bool
    orders: tuple[StoredOrder, ...]
    unsent: int
    """Events that still wait in the outbox."""
    parked: int
    """Messages that wait for an operator."""
    poison: int
    """Messages sent that nobody can understand: each is parked, once."""
    collected_at: datetime
    """By the clock of the database, like `created_at`."""
    longest_wait: timedelta
    """After so long each order has its outcome: the deadlines of its steps, and the time to act upon them."""
    shortest_wait: timedelta = timedelta(0)
    """The shortest deadline of a step: no order is given up for silence sooner."""
    most_repeats: int | None = None
    """So many events the faults of the run can have made come again (a window for each relay or connection that was
    lost); None if that is not known."""


def content_of(items: Mapping[str, tuple[int, int]]) -> str:
    """The canonical text of an order's items: for each product the quantity and the price of one in minor units."""
    return " ".join(f"{product}:{quantity}x{price}" for product, (quantity, price) in sorted(items.items()))
