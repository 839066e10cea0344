"""A run in which everything happened that can happen, and every promise was kept."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.faults.history import Booking, Call, Entry, Event, History, StoredOrder, content_of

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
DEADLINE = timedelta(seconds=2)

CREATED, CONFIRMED, CANCELLED = "order.created", "order.confirmed", "order.cancelled"
RELEASE, PAYMENT, REFUND = "order.stock_release_requested", "order.payment_requested", "order.payment_refund_requested"
STATUS = {CREATED: "PENDING", PAYMENT: "PENDING", CONFIRMED: "CONFIRMED"}


@dataclass(frozen=True, slots=True)
class Path:
    """What an order goes through: its events, the reason of its cancellation, the entries in the books."""

    types: Sequence[str]
    reason: str = ""
    stock: Sequence[Entry] = (Entry.TAKEN,)
    payment: Sequence[Entry] = ()
    cancel: bool = False


TAKEN, REFUSED, IGNORED, UNDONE = Entry
PATHS: Mapping[str, Path] = {
    "confirmed": Path([CREATED, PAYMENT, CONFIRMED], payment=[TAKEN]),
    "confirmed-2": Path([CREATED, PAYMENT, CONFIRMED], payment=[TAKEN, TAKEN]),
    "refused": Path([CREATED, CANCELLED], "STOCK_REFUSED", [REFUSED]),
    "timed-out": Path([CREATED, CANCELLED], "STOCK_TIMEOUT", [IGNORED]),
    "late": Path([CREATED, CANCELLED, RELEASE], "STOCK_TIMEOUT", [IGNORED, TAKEN, UNDONE]),
    "cancelled-pending": Path([CREATED, CANCELLED], "CANCELLED_BY_OWNER", [IGNORED], cancel=True),
    "cancelled-confirmed": Path(
        [CREATED, PAYMENT, CONFIRMED, CANCELLED, REFUND, RELEASE],
        "CANCELLED_BY_OWNER",
        [TAKEN, UNDONE],
        [TAKEN, UNDONE],
        cancel=True,
    ),
    "delivered-twice": Path([CREATED, PAYMENT, CONFIRMED], stock=[TAKEN, TAKEN], payment=[TAKEN]),
    "broke": Path([CREATED, PAYMENT, CANCELLED, RELEASE], "PAYMENT_REFUSED", [TAKEN, UNDONE], [REFUSED]),
    "unpaid": Path([CREATED, PAYMENT, CANCELLED, RELEASE], "PAYMENT_TIMEOUT", [TAKEN, UNDONE], [IGNORED]),
    "paid-late": Path(
        [CREATED, PAYMENT, CANCELLED, RELEASE, REFUND], "PAYMENT_TIMEOUT", [TAKEN, UNDONE], [IGNORED, TAKEN, UNDONE]
    ),
}


@dataclass(slots=True)
class Builder:
    """Collects what everybody sees of one order after another."""

    calls: list[Call] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    stock: list[Booking] = field(default_factory=list)
    payments: list[Booking] = field(default_factory=list)
    orders: list[StoredOrder] = field(default_factory=list)

    def add(self, name: str, path: Path) -> None:
        items = {f"tea-for-{name}": (2, 1999), "cup": (1, 50)}
        order = StoredOrder(
            order_id=f"order-{name}",
            user_id=f"user-{name}",
            content=content_of(items),
            status=STATUS.get(path.types[-1], "CANCELLED"),
            version=len(path.types),
            created_at=NOON,
        )
        self.orders.append(order)
        self._calls(order, path)
        for version, kind in enumerate(path.types, start=1):
            self.events.append(event(order, version, kind, items, path.reason))
        quantities = {product: quantity for product, (quantity, _) in items.items()}
        self.stock += [self._line(order, entry, quantities, path, CREATED, RELEASE) for entry in path.stock]
        self.payments += [self._line(order, entry, {}, path, PAYMENT, REFUND) for entry in path.payment]

    def _calls(self, order: StoredOrder, path: Path) -> None:
        create = Call("CreateOrder", order.user_id, 1, 2, "", f"request-{order.user_id}", order.content)
        self.calls += [create, answered(create, 2, "UNAVAILABLE"), answered(create, 3, "OK", order.order_id, "PENDING")]
        self.calls.append(answered(create, 8, "OK", order.order_id, "PENDING"))
        read = Call("GetOrder", order.user_id, 1, 2, "", order_id=order.order_id)
        self.calls.append(answered(read, 4, "OK", order.order_id, "PENDING"))
        if CONFIRMED in path.types:
            self.calls.append(answered(read, 5, "OK", order.order_id, "CONFIRMED"))
        if path.cancel:
            cancel = Call("CancelOrder", order.user_id, 1, 2, "", order_id=order.order_id)
            self.calls.append(answered(cancel, 6, "OK", order.order_id, "CANCELLED"))
        self.calls.append(answered(read, 7, "OK", order.order_id, order.status))

    def _line(
        self, order: StoredOrder, entry: Entry, quantities: Mapping[str, int], path: Path, ask: str, undo: str
    ) -> Booking:
        kind = undo if entry is UNDONE else ask
        return Booking(entry, order.order_id, id_of(order, path.types.index(kind) + 1), quantities)


def good_history() -> History:
    """One order for each path, and an event that came twice."""
    builder = Builder()
    for name, path in PATHS.items():
        builder.add(name, path)
    return History(
        calls=tuple(builder.calls),
        events=(*builder.events, builder.events[0]),
        stock=tuple(builder.stock),
        payments=tuple(builder.payments),
        with_payment=True,
        orders=tuple(builder.orders),
        unsent=0,
        parked=1,
        poison=1,
        collected_at=NOON + timedelta(minutes=1),
        longest_wait=timedelta(seconds=30),
        shortest_wait=DEADLINE,
        most_repeats=1,
    )


def id_of(order: StoredOrder, version: int) -> str:
    """The id of an order's event."""
    return f"{order.order_id}-{version}"


def event(order: StoredOrder, version: int, kind: str, items: Mapping[str, tuple[int, int]], reason: str = "") -> Event:
    """An event as the contract has it."""
    body: dict[str, Any] = {
        "order_id": order.order_id,
        "user_id": order.user_id,
        "status": STATUS.get(kind, "CANCELLED"),
        "version": version,
        "occurred_at": (NOON if kind == CREATED else NOON + DEADLINE).isoformat(),
    }
    if kind in (CREATED, RELEASE):
        body["items"] = [
            {"product_id": product, "quantity": quantity, "price": price / 100}
            for product, (quantity, price) in sorted(items.items())
        ]
    if kind == CREATED:
        body["total_price"] = sum(quantity * price for quantity, price in items.values()) / 100
    if kind == CANCELLED:
        body["reason_code"] = reason
    return Event(id_of(order, version), kind, body, json.dumps(body).encode())


def answered(call: Call, at: float, code: str, order_id: str = "", status: str = "") -> Call:
    """A call that began at a time and was answered soon."""
    return Call(
        rpc=call.rpc,
        user_id=call.user_id,
        began_at=at,
        ended_at=at + 0.5,
        code=code,
        request_id=call.request_id,
        content=call.content,
        order_id=order_id,
        status=status,
    )
