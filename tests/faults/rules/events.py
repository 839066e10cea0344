"""What the recording consumer heard, held against the grammar of events and the rows."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from tests.faults.history import Booking, Entry, Event, History, StoredOrder, content_of
from tests.faults.rules import Rule, Violation

CREATED, CONFIRMED, CANCELLED = "order.created", "order.confirmed", "order.cancelled"
RELEASE = "order.stock_release_requested"
PAYMENT, REFUND = "order.payment_requested", "order.payment_refund_requested"

STATUS_AFTER = {
    CREATED: "PENDING",
    PAYMENT: "PENDING",
    CONFIRMED: "CONFIRMED",
    CANCELLED: "CANCELLED",
    RELEASE: "CANCELLED",
    REFUND: "CANCELLED",
}


def broken_by_events(history: History) -> Iterator[Violation]:
    """What events contradict."""
    yield from _ids(history.events)
    if history.most_repeats is not None and repeats(history.events) > history.most_repeats:
        told = f"{repeats(history.events)} events came again, where {history.most_repeats} can be explained"
        yield Violation(Rule.REPEATS_EXPLAINED, "", told)
    heard: defaultdict[str, dict[int, Event]] = defaultdict(dict)
    for event in history.events:
        heard[str(event.body.get("order_id"))].setdefault(int(event.body.get("version", 0)), event)
    orders = {order.order_id: order for order in history.orders}
    for order_id in heard.keys() - orders.keys():
        yield Violation(Rule.EVENT_OF_AN_ORDER, order_id, "was told of in events and is not there")
    for order_id, order in orders.items():
        yield from _of_order(order, heard.get(order_id, {}), history)


def repeats(events: Sequence[Event]) -> int:
    """How many came under an id under which the same had come before."""
    return len(events) - len({(one.message_id, one.body.get("order_id"), one.body.get("version")) for one in events})


def _ids(events: Sequence[Event]) -> Iterator[Violation]:
    by_id: dict[str, Event] = {}
    by_version: dict[tuple[Any, Any], str] = {}
    for event in events:
        order_id = str(event.body.get("order_id"))
        version = order_id, event.body.get("version")
        first = by_id.setdefault(event.message_id, event)
        if (first.body.get("order_id"), first.body.get("version")) != (event.body.get("order_id"), version[1]):
            yield Violation(Rule.ONE_ID_FOR_AN_EVENT, order_id, f"{event.message_id} is the id of two events")
        elif by_version.setdefault(version, event.message_id) != event.message_id:
            yield Violation(Rule.ONE_ID_FOR_AN_EVENT, order_id, f"version {version[1]} came under two ids")
        elif (first.raw, first.type) != (event.raw, event.type):
            yield Violation(Rule.REPEATS_ALIKE, order_id, f"version {version[1]} came again with other content")


def _of_order(order: StoredOrder, heard: Mapping[int, Event], history: History) -> Iterator[Violation]:
    """`heard`: by version, in the order in which they came first."""
    if sorted(heard) != list(range(1, max(order.version, *heard, 1) + 1)):
        told = f"versions {list(heard)} came, and the order has {order.version}"
        yield Violation(Rule.EVERY_EVENT, order.order_id, told)
        return
    if list(heard) != sorted(heard):
        yield Violation(Rule.VERSION_ORDER, order.order_id, f"its versions came as {list(heard)}")
    events = [heard[version] for version in sorted(heard)]
    if (order.version, order.status) != (len(events), events[-1].body.get("status")):
        told = f"its row has {order.status} at version {order.version}, its last event is {_told(events[-1])}"
        yield Violation(Rule.ROW_AS_TOLD, order.order_id, told)
    else:
        yield from _grammar(order, events, history)
        yield from _causes(order, events, history)
    for event in events:
        yield from _body(order, event)


def _grammar(order: StoredOrder, events: Sequence[Event], history: History) -> Iterator[Violation]:
    types = [event.type for event in events]
    wrong = [event for event in events if STATUS_AFTER.get(event.type) != event.body.get("status")]
    first = {kind: types.index(kind) for kind in reversed(types)}
    outcomes = [kind for kind in types if kind in (CONFIRMED, CANCELLED)]
    if types.count(RELEASE) > 1 or types.count(REFUND) > 1:
        yield Violation(Rule.UNDONE_ONCE, order.order_id, f"its events are {types}")
    elif outcomes not in ([], [CONFIRMED], [CANCELLED], [CONFIRMED, CANCELLED]):
        yield Violation(Rule.ONE_OUTCOME, order.order_id, f"its events are {types}")
    elif wrong:
        yield Violation(Rule.EVENTS_OF_THE_CONTRACT, order.order_id, f"{_told(wrong[0])} is not in the contract")
    elif not _in_sequence(types, first, history.with_payment):
        yield Violation(Rule.EVENTS_OF_THE_CONTRACT, order.order_id, f"its events are {types}")


def _in_sequence(types: Sequence[str], first: Mapping[str, int], with_payment: bool) -> bool:
    """Whether each event comes after what must precede it. Those that may come once only do."""
    end = len(types)
    return (
        types[0] == CREATED
        and types.count(CREATED) == 1
        and types.count(PAYMENT) <= 1
        and (with_payment or not {PAYMENT, REFUND} & set(types))
        and (not with_payment or first.get(PAYMENT, end) <= first.get(CONFIRMED, end))
        and all(first.get(CANCELLED, end) < place for kind, place in first.items() if kind in (RELEASE, REFUND))
        and (REFUND not in types or PAYMENT in types)
    )


def _causes(order: StoredOrder, events: Sequence[Event], history: History) -> Iterator[Violation]:
    cancelled = next((event for event in events if event.type == CANCELLED), None)
    if cancelled is None:
        return
    reason = str(cancelled.body.get("reason_code"))
    was_confirmed = any(event.type == CONFIRMED for event in events)
    if not _has_cause(reason, order.order_id, was_confirmed, history):
        told = f"it was {'confirmed, and then ' if was_confirmed else ''}cancelled for {reason}"
        yield Violation(Rule.CANCELLED_FOR_CAUSE, order.order_id, told)
    elif reason.endswith("_TIMEOUT") and _between(events[0], cancelled) < history.shortest_wait:
        told = f"it was given up after {_between(events[0], cancelled)}"
        yield Violation(Rule.NOT_GIVEN_UP_EARLY, order.order_id, told)


def _has_cause(reason: str, order_id: str, was_confirmed: bool, history: History) -> bool:
    match reason:
        case "CANCELLED_BY_OWNER" | "CANCELLED_BY_STAFF":
            return any(call.rpc == "CancelOrder" and call.order_id == order_id for call in history.calls)
        case "STOCK_REFUSED":
            return not was_confirmed and _refused(history.stock, order_id)
        case "PAYMENT_REFUSED":
            return not was_confirmed and _refused(history.payments, order_id)
        case "STOCK_TIMEOUT":
            return not was_confirmed
        case "PAYMENT_TIMEOUT":
            return not was_confirmed and history.with_payment
        case _:
            return False


def _refused(books: Sequence[Booking], order_id: str) -> bool:
    return any(line.entry is Entry.REFUSED and line.order_id == order_id for line in books)


def _between(first: Event, last: Event) -> timedelta:
    begin, end = (datetime.fromisoformat(str(event.body["occurred_at"])) for event in (first, last))
    return end - begin


def _body(order: StoredOrder, event: Event) -> Iterator[Violation]:
    body = event.body
    wrong = body.get("user_id") != order.user_id
    if event.type in (CREATED, RELEASE):
        wrong |= _content_in(body.get("items", ())) != order.content
    if event.type == CREATED:
        wrong |= round(100 * float(body.get("total_price", 0))) != _total(order.content)
    if wrong:
        told = f"{_told(event)} tells {body.get('user_id')} {body.get('items')} {body.get('total_price')}"
        yield Violation(Rule.EVENT_OF_AN_ORDER, order.order_id, told)


def _content_in(items: Sequence[Mapping[str, Any]]) -> str:
    """As `content_of` writes it, for prices in a currency with cents."""
    products = Counter(item["product_id"] for item in items)
    if products and max(products.values()) > 1:
        return ""
    return content_of({item["product_id"]: (item["quantity"], round(100 * item["price"])) for item in items})


def _total(content: str) -> int:
    pairs = (one.rpartition(":")[2].split("x") for one in content.split(" "))
    return sum(int(quantity) * int(price) for quantity, price in pairs)


def _told(event: Event) -> str:
    return f"{event.type} (version {event.body.get('version')}, {event.body.get('status')})"
