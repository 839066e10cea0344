"""What clients were told, held against what there is in the end."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from tests.faults.history import Call, History, StoredOrder
from tests.faults.rules import Rule, Violation

TRY_AGAIN = frozenset({"", "UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED"})
"""Answers, or none, after which a client asks again."""

RANKS = {"PENDING": 0, "CONFIRMED": 1, "CANCELLED": 2}
"""An order's status only ever goes up."""


def broken_by_calls(history: History) -> Iterator[Violation]:
    """What answers contradict."""
    orders = {order.order_id: order for order in history.orders}
    yield from _codes(history.calls)
    for call in history.calls:
        if call.code == "OK":
            yield from _answer(call, orders)
    yield from _requests(history)
    yield from _reads(history.calls, orders)


def _codes(calls: Iterable[Call]) -> Iterator[Violation]:
    for call in calls:
        of_a_read = {"NOT_FOUND"} if call.rpc != "CreateOrder" else set()
        if call.code not in TRY_AGAIN | {"OK"} | of_a_read:
            yield Violation(Rule.CODES_OF_THE_CONTRACT, call.order_id, f"{call.rpc} was answered with {call.code}")


def _answer(call: Call, orders: Mapping[str, StoredOrder]) -> Iterator[Violation]:
    stored = orders.get(call.order_id)
    if stored is None:
        yield Violation(Rule.ACKNOWLEDGED_IS_STORED, call.order_id, f"{call.rpc} told of it and it is not there")
    elif stored.user_id != call.user_id or (call.content and stored.content != call.content):
        told = f"{call.user_id} asked for {call.content!r}, {stored.user_id} has {stored.content!r}"
        yield Violation(Rule.STORED_AS_ASKED, call.order_id, told)
    elif call.rpc == "CancelOrder" and not call.status == stored.status == "CANCELLED":
        told = f"its cancellation was answered with {call.status} and it is {stored.status}"
        yield Violation(Rule.CANCELLED_IF_SO_ANSWERED, call.order_id, told)
    if call.rpc == "CreateOrder" and call.status != "PENDING":
        yield Violation(Rule.FIRST_ANSWER_AGAIN, call.order_id, f"CreateOrder answered {call.status}")


def _requests(history: History) -> Iterator[Violation]:
    creates = [call for call in history.calls if call.rpc == "CreateOrder"]
    asked = {(call.user_id, call.content) for call in creates}
    answered: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for call in creates:
        if call.code == "OK" and call.request_id:
            answered[call.user_id, call.request_id].add(call.order_id)
    for (_, request_id), order_ids in answered.items():
        if len(order_ids) > 1:
            told = f"request {request_id} was answered with the orders {sorted(order_ids)}"
            yield Violation(Rule.ONE_ORDER_FOR_A_REQUEST, min(order_ids), told)
    stored: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for order in history.orders:
        stored[order.user_id, order.content].append(order.order_id)
    for key, order_ids_of in stored.items():
        if key not in asked:
            yield Violation(Rule.ASKED_FOR, order_ids_of[0], f"nobody asked for {key[1]!r} in the name of {key[0]}")
        elif len(order_ids_of) > 1:
            yield Violation(Rule.ONE_ORDER_FOR_A_REQUEST, order_ids_of[1], f"is a second order of {key[0]}'s request")


def _reads(calls: Iterable[Call], orders: Mapping[str, StoredOrder]) -> Iterator[Violation]:
    by_order: defaultdict[str, list[Call]] = defaultdict(list)
    for call in calls:
        if call.order_id and call.code in ("OK", "NOT_FOUND"):
            by_order[call.order_id].append(call)
    for order_id, of_order in by_order.items():
        told = next(_taken_back(of_order, orders.get(order_id)), "")
        if told:
            yield Violation(Rule.READS_AGREE, order_id, told)


def _taken_back(calls: Sequence[Call], stored: StoredOrder | None) -> Iterator[str]:
    """What is told later than something that contradicts it. Calls that overlap may tell either."""
    for earlier in calls:
        for later in calls:
            is_read = later.rpc != "CreateOrder"
            if is_read and earlier.ended_at <= later.began_at and _rank(later) < _rank(earlier):
                yield f"{earlier.rpc} told {earlier.status}, {later.rpc} after it {later.status or later.code}"
    reads = [call for call in calls if call.rpc == "GetOrder" and call.code == "OK"]
    for call in reads:
        if call.status not in RANKS or (stored and _rank(call) > RANKS.get(stored.status, 0)):
            yield f"{call.rpc} told {call.status}, and in the end it is {stored and stored.status}"


def _rank(call: Call) -> int:
    if call.code == "NOT_FOUND":
        return -1
    # A repeated CreateOrder gets the first answer again: it says no more than that the order is there.
    return RANKS.get(call.status, 0) if call.rpc != "CreateOrder" else 0
