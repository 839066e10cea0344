"""Single things that go wrong in a run, each with the one rule that it breaks."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from tests.faults.history import Booking, Call, Entry, Event, History, StoredOrder
from tests.faults.judge import Rule
from tests.unit.faults.good_history import CANCELLED, CONFIRMED, CREATED, PAYMENT, REFUND, RELEASE, answered

Change = Callable[[History], History]


@dataclass(frozen=True, slots=True)
class Corruption:
    """A sentence on what goes wrong, the rule that says so, and how it shows."""

    name: str
    rule: Rule
    change: Change


def of(name: str) -> str:
    return f"order-{name}"


def user(name: str) -> str:
    return f"user-{name}"


def with_call(rpc: str, name: str, at: float, code: str, order_id: str = "", status: str = "") -> Change:
    """One more call, by the user of an order."""

    def change(history: History) -> History:
        content = next(order.content for order in history.orders if order.order_id == of(name))
        asked = Call(rpc, user(name), 0, 0, "", f"request-{user(name)}", content if rpc == "CreateOrder" else "")
        return replace(history, calls=(*history.calls, answered(asked, at, code, order_id, status)))

    return change


def with_calls(changed: Callable[[Call], Call | None]) -> Change:
    """Each call as `changed` gives it, or without it."""
    return lambda history: replace(history, calls=tuple(call for one in history.calls if (call := changed(one))))


def with_order(name: str, **changes: Any) -> Change:
    """An order with other columns."""

    def changed(order: StoredOrder) -> StoredOrder:
        return replace(order, **changes) if order.order_id == of(name) else order

    return lambda history: replace(history, orders=tuple(map(changed, history.orders)))


def with_event(name: str, kind: str, changed: Callable[[Event], list[Event]]) -> Change:
    """An event as `changed` gives it, once or more often, or without it."""

    def change(history: History) -> History:
        events: list[Event] = []
        for event in history.events:
            wanted = event.body["order_id"] == of(name) and event.type == kind
            events += changed(event) if wanted else [event]
        return replace(history, events=tuple(events))

    return change


def body(event: Event, **changes: Any) -> Event:
    """The event with another body."""
    content = {**event.body, **changes}
    return replace(event, body=content, raw=json.dumps(content).encode())


def with_versions(name: str, *kinds: str, **changes: Any) -> Change:
    """An order whose events have other types, in this order, and its row as it should be then."""

    def change(history: History) -> History:
        mine = {event.type: event for event in reversed(history.events) if event.body["order_id"] == of(name)}
        told = [
            replace(body(mine.get(kind, mine[CREATED]), version=version), type=kind, message_id=f"{name}-{version}")
            for version, kind in enumerate(kinds, start=1)
        ]
        told = [body(event, **changes.get(event.type, {})) for event in told]
        others = [event for event in history.events if event.body["order_id"] != of(name)]
        status = told[-1].body["status"]
        return with_order(name, version=len(told), status=status)(replace(history, events=(*others, *told)))

    return change


def with_books(which: str, changed: Callable[[Booking], list[Booking]]) -> Change:
    """Each line of the "stock" or of the "payments" as `changed` gives it."""

    def change(history: History) -> History:
        lines = tuple(line for one in getattr(history, which) for line in changed(one))
        return replace(history, stock=lines) if which == "stock" else replace(history, payments=lines)

    return change


def dropped(name: str, entry: Entry) -> Callable[[Booking], list[Booking]]:
    return lambda line: [] if (line.order_id, line.entry) == (of(name), entry) else [line]


def doubled(name: str, entry: Entry, message_id: str) -> Callable[[Booking], list[Booking]]:
    again = (of(name), entry)
    return lambda line: [line, replace(line, message_id=message_id)] if (line.order_id, line.entry) == again else [line]


def added(which: str, name: str, entry: Entry) -> Change:
    """One more line, as if for the last message of the order."""

    def change(history: History) -> History:
        line = next(line for line in history.stock if line.order_id == of(name))
        more = replace(line, entry=entry, message_id=f"{entry}-{name}")
        return with_books(which, lambda one: [one, more] if one is getattr(history, which)[-1] else [one])(history)

    return change


def with_twin(content: str = "") -> Change:
    """A second order of the user whose order timed out: with its events, and in the books."""

    def change(history: History) -> History:
        first = next(order for order in history.orders if order.order_id == of("timed-out"))
        twin = replace(first, order_id="twin", content=content or first.content)
        quantities = {
            product.rpartition(":")[0]: int(product.rpartition(":")[2][0]) for product in twin.content.split()
        }
        told = {"items": [{"product_id": "gold", "quantity": 1, "price": 1}], "total_price": 1} if content else {}
        mine = [event for event in history.events if event.body["order_id"] == first.order_id]
        events = [
            replace(body(event, order_id="twin", **told), message_id=f"twin-{version}")
            for version, event in enumerate(mine, start=1)
        ]
        line = Booking(Entry.IGNORED, "twin", "twin-1", quantities)
        return replace(
            history,
            orders=(*history.orders, twin),
            events=(*history.events, *events),
            stock=(*history.stock, line),
        )

    return change


def with_call_of_twin(content: str) -> Change:
    """The call that is answered with it."""
    asked = Call("CreateOrder", user("timed-out"), 0, 0, "", f"request-{user('timed-out')}", content)
    return lambda history: replace(history, calls=(*history.calls, answered(asked, 9, "OK", "twin", "PENDING")))


def all_of(*changes: Change) -> Change:
    def change(history: History) -> History:
        for one in changes:
            history = one(history)
        return history

    return change


def is_create(call: Call, name: str) -> bool:
    return call.rpc == "CreateOrder" and call.user_id == user(name)


LAST = timedelta(milliseconds=1)
STRANGE: dict[str, Any] = {"items": [{"product_id": "gold", "quantity": 1, "price": 1.0}]}
R = Rule

OF_CALLS = [
    Corruption(
        "an acknowledged order is not there",
        R.ACKNOWLEDGED_IS_STORED,
        with_calls(lambda call: replace(call, order_id="gone") if is_create(call, "refused") else call),
    ),
    Corruption(
        "an order holds other items than were asked for",
        R.STORED_AS_ASKED,
        with_calls(
            lambda call: (
                replace(call, content="gold:1x1") if is_create(call, "refused") and call.began_at == 8 else call
            )
        ),
    ),
    Corruption(
        "a caller is answered with the order of another",
        R.STORED_AS_ASKED,
        with_calls(
            lambda call: replace(call, order_id=of("confirmed"), request_id="") if is_create(call, "refused") else call
        ),
    ),
    Corruption(
        "an order is there that nobody asked for",
        R.ASKED_FOR,
        with_calls(lambda call: None if is_create(call, "refused") else call),
    ),
    Corruption(
        "a request_id that is used again with other content makes a second order",
        R.ONE_ORDER_FOR_A_REQUEST,
        all_of(with_twin("gold:1x100"), with_call_of_twin("gold:1x100")),
    ),
    Corruption(
        "a repeated CreateOrder is answered with the status of now",
        R.FIRST_ANSWER_AGAIN,
        with_call("CreateOrder", "confirmed", 9, "OK", of("confirmed"), "CONFIRMED"),
    ),
    Corruption(
        "an order is unknown after it was acknowledged",
        R.READS_AGREE,
        with_call("GetOrder", "confirmed", 9, "NOT_FOUND", of("confirmed")),
    ),
    Corruption(
        "an order that was read as confirmed is pending later",
        R.READS_AGREE,
        with_call("GetOrder", "confirmed", 9, "OK", of("confirmed"), "PENDING"),
    ),
    Corruption(
        "an order that was read as cancelled is confirmed later",
        R.READS_AGREE,
        with_call("GetOrder", "refused", 9, "OK", of("refused"), "CONFIRMED"),
    ),
    Corruption(
        "an order is read as cancelled that is confirmed in the end",
        R.READS_AGREE,
        with_call("GetOrder", "confirmed", 9, "OK", of("confirmed"), "CANCELLED"),
    ),
    Corruption(
        "an order is read with a status that nobody gave it",
        R.READS_AGREE,
        with_call("GetOrder", "refused", 9, "OK", of("refused"), "DELIVERED"),
    ),
    Corruption(
        "a cancellation was answered and the order is confirmed",
        R.CANCELLED_IF_SO_ANSWERED,
        with_call("CancelOrder", "confirmed", 9, "OK", of("confirmed"), "CONFIRMED"),
    ),
    Corruption("a call fails with INTERNAL", R.CODES_OF_THE_CONTRACT, with_call("CreateOrder", "late", 9, "INTERNAL")),
    Corruption("a call fails with UNKNOWN", R.CODES_OF_THE_CONTRACT, with_call("GetOrder", "late", 9, "UNKNOWN")),
    Corruption(
        "a cancellation that is allowed is refused",
        R.CODES_OF_THE_CONTRACT,
        with_call("CancelOrder", "late", 9, "FAILED_PRECONDITION", of("late")),
    ),
]

OF_ROWS = [
    Corruption("a request makes a second order that nobody is told of", R.ONE_ORDER_FOR_A_REQUEST, with_twin()),
    Corruption("an event is left unsent", R.NOTHING_UNSENT, lambda history: replace(history, unsent=1)),
    Corruption("a good message is parked", R.PARKED_IS_POISON, lambda history: replace(history, parked=2)),
    Corruption("poison is dropped", R.PARKED_IS_POISON, lambda history: replace(history, parked=0)),
    Corruption(
        "an order waits for ever",
        R.OUTCOME_IN_TIME,
        all_of(
            with_versions("timed-out", CREATED),
            with_calls(lambda call: None if (call.order_id, call.status) == (of("timed-out"), "CANCELLED") else call),
        ),
    ),
    Corruption(
        "a row has another status than was told",
        R.ROW_AS_TOLD,
        all_of(
            with_order("timed-out", status="PENDING"),
            with_calls(lambda call: None if (call.order_id, call.status) == (of("timed-out"), "CANCELLED") else call),
            lambda history: replace(history, longest_wait=timedelta(hours=1)),
        ),
    ),
    Corruption(
        "a row has an older version than was told",
        R.ROW_AS_TOLD,
        with_order("late", version=2),
    ),
]

OF_EVENTS = [
    Corruption("an event never comes", R.EVERY_EVENT, with_event("broke", PAYMENT, lambda _: [])),
    Corruption("the last event never comes", R.EVERY_EVENT, with_event("late", RELEASE, lambda _: [])),
    Corruption("an order is never told of", R.EVERY_EVENT, with_event("timed-out", CREATED, lambda _: [])),
    Corruption(
        "events come in the wrong order",
        R.VERSION_ORDER,
        lambda history: replace(history, events=tuple(reversed(history.events[2:])) + history.events[:2]),
    ),
    Corruption(
        "an event comes of an order that is not there",
        R.EVENT_OF_AN_ORDER,
        with_event(
            "late", CREATED, lambda event: [event, replace(body(event, order_id="nobody"), message_id="of-nobody")]
        ),
    ),
    Corruption(
        "an event comes again under another id",
        R.ONE_ID_FOR_AN_EVENT,
        with_event("late", RELEASE, lambda event: [event, replace(event, message_id="another")]),
    ),
    Corruption(
        "two events have one id",
        R.ONE_ID_FOR_AN_EVENT,
        with_event("late", RELEASE, lambda event: [replace(event, message_id=f"{of('late')}-1")]),
    ),
    Corruption(
        "two orders share an id",
        R.ONE_ID_FOR_AN_EVENT,
        with_event("late", RELEASE, lambda event: [replace(event, message_id=f"{of('broke')}-1")]),
    ),
    Corruption(
        "a repeat has other bytes",
        R.REPEATS_ALIKE,
        all_of(
            with_event("late", RELEASE, lambda event: [event, replace(event, raw=event.raw + b" ")]),
            lambda history: replace(history, most_repeats=2),
        ),
    ),
    Corruption(
        "a repeat has another type",
        R.REPEATS_ALIKE,
        all_of(
            with_event("late", RELEASE, lambda event: [event, replace(event, type=REFUND)]),
            lambda history: replace(history, most_repeats=2),
        ),
    ),
    Corruption(
        "events come again although nothing went wrong",
        R.REPEATS_EXPLAINED,
        with_event("late", RELEASE, lambda event: [event, event]),
    ),
    Corruption(
        "an event tells another user",
        R.EVENT_OF_AN_ORDER,
        with_event("late", CANCELLED, lambda event: [body(event, user_id="eve")]),
    ),
    Corruption(
        "an event tells other items",
        R.EVENT_OF_AN_ORDER,
        with_event("late", RELEASE, lambda event: [body(event, **STRANGE)]),
    ),
    Corruption(
        "an event tells another total",
        R.EVENT_OF_AN_ORDER,
        with_event("late", CREATED, lambda event: [body(event, total_price=40.49)]),
    ),
    Corruption(
        "an event has a status that does not belong to it",
        R.EVENTS_OF_THE_CONTRACT,
        with_event("confirmed", PAYMENT, lambda event: [body(event, status="CONFIRMED")]),
    ),
    Corruption(
        "an event has a type that nobody knows",
        R.EVENTS_OF_THE_CONTRACT,
        with_event("confirmed", PAYMENT, lambda event: [replace(event, type="order.blessed")]),
    ),
    Corruption(
        "an order is confirmed and no payment was asked for",
        R.EVENTS_OF_THE_CONTRACT,
        with_versions("confirmed", CREATED, CONFIRMED),
    ),
    Corruption(
        "a release comes before the cancellation",
        R.EVENTS_OF_THE_CONTRACT,
        with_versions("late", CREATED, RELEASE, CANCELLED),
    ),
    Corruption(
        "a refund comes although no payment was asked for",
        R.EVENTS_OF_THE_CONTRACT,
        with_versions("late", CREATED, CANCELLED, RELEASE, REFUND, **{REFUND: {"status": "CANCELLED"}}),
    ),
    Corruption(
        "an order is created twice",
        R.EVENTS_OF_THE_CONTRACT,
        with_versions("refused", CREATED, CREATED, CANCELLED),
    ),
    Corruption("an order is cancelled twice", R.ONE_OUTCOME, with_versions("refused", CREATED, CANCELLED, CANCELLED)),
    Corruption(
        "an order is confirmed twice",
        R.ONE_OUTCOME,
        with_versions("confirmed", CREATED, PAYMENT, CONFIRMED, CONFIRMED),
    ),
    Corruption(
        "a cancelled order is confirmed",
        R.ONE_OUTCOME,
        with_versions("cancelled-confirmed", CREATED, PAYMENT, CANCELLED, CONFIRMED, RELEASE, REFUND),
    ),
    Corruption(
        "a release is told of twice",
        R.UNDONE_ONCE,
        with_versions("late", CREATED, CANCELLED, RELEASE, RELEASE),
    ),
    Corruption(
        "an order is cancelled for its deadline before it came",
        R.NOT_GIVEN_UP_EARLY,
        lambda history: replace(history, shortest_wait=history.shortest_wait + LAST),
    ),
    Corruption(
        "a confirmed order is cancelled for its deadline",
        R.CANCELLED_FOR_CAUSE,
        with_event("cancelled-confirmed", CANCELLED, lambda event: [body(event, reason_code="PAYMENT_TIMEOUT")]),
    ),
    Corruption(
        "an order is cancelled for a refusal that nobody gave",
        R.CANCELLED_FOR_CAUSE,
        with_event("late", CANCELLED, lambda event: [body(event, reason_code="STOCK_REFUSED")]),
    ),
    Corruption(
        "an order is cancelled for a request that nobody made",
        R.CANCELLED_FOR_CAUSE,
        with_event("late", CANCELLED, lambda event: [body(event, reason_code="CANCELLED_BY_OWNER")]),
    ),
]

OF_BOOKS = [
    Corruption(
        "the stock service is never asked",
        R.PEER_ASKED,
        with_books("stock", dropped("timed-out", Entry.IGNORED)),
    ),
    Corruption(
        "the payment service is never asked",
        R.PEER_ASKED,
        with_books("payments", dropped("unpaid", Entry.IGNORED)),
    ),
    Corruption(
        "the payment of a confirmed order was refused",
        R.HELD_IF_CONFIRMED,
        with_books(
            "payments",
            lambda line: [replace(line, entry=Entry.REFUSED)] if line.order_id == of("confirmed") else [line],
        ),
    ),
    Corruption(
        "the stock of a confirmed order is released",
        R.HELD_IF_CONFIRMED,
        added("stock", "confirmed", Entry.UNDONE),
    ),
    Corruption(
        "the stock of a cancelled order is kept",
        R.UNDONE_IF_CANCELLED,
        with_books("stock", dropped("late", Entry.UNDONE)),
    ),
    Corruption(
        "the money for a cancelled order is kept",
        R.UNDONE_IF_CANCELLED,
        with_books("payments", dropped("paid-late", Entry.UNDONE)),
    ),
    Corruption(
        "stock is released twice",
        R.UNDONE_ONCE,
        with_books("stock", doubled("late", Entry.UNDONE, "another")),
    ),
    Corruption(
        "stock is released that was never taken",
        R.UNDONE_ONCE,
        with_books("stock", dropped("late", Entry.TAKEN)),
    ),
    Corruption(
        "the stock service is asked again under another id",
        R.ASKED_ONCE,
        with_books("stock", doubled("confirmed", Entry.TAKEN, "another")),
    ),
    Corruption(
        "other quantities are taken from stock",
        R.BOOKED_FOR_AN_ORDER,
        with_books(
            "stock",
            lambda line: [replace(line, quantities={"gold": 1})] if line.order_id == of("confirmed") else [line],
        ),
    ),
    Corruption(
        "stock is taken for an order that is not there",
        R.BOOKED_FOR_AN_ORDER,
        lambda history: replace(history, stock=(*history.stock, Booking(Entry.TAKEN, "nobody", "1", {"tea": 1}))),
    ),
    Corruption(
        "money is asked for without stock",
        R.PAID_AFTER_TAKEN,
        added("payments", "refused", Entry.REFUSED),
    ),
]

ALL = [*OF_CALLS, *OF_ROWS, *OF_EVENTS, *OF_BOOKS]
