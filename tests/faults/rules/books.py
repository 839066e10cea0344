"""What the peers hold, held against the rows: stock, and money if payment is a step."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from tests.faults.history import Booking, Entry, History, StoredOrder
from tests.faults.rules import Rule, Violation
from tests.faults.rules.events import PAYMENT


def broken_by_books(history: History) -> Iterator[Violation]:
    """What the books of the stock service and of the payment service contradict."""
    stock, payments = _by_order(history.stock), _by_order(history.payments)
    asked_to_pay = {str(event.body.get("order_id")) for event in history.events if event.type == PAYMENT}
    for order in history.orders:
        must_be_asked = {"stock"} | ({"payment"} if order.order_id in asked_to_pay else set())
        for peer, books in (("stock", stock), ("payment", payments)):
            lines = books.get(order.order_id, [])
            if peer in must_be_asked and not any(line.entry is not Entry.UNDONE for line in lines):
                yield Violation(Rule.PEER_ASKED, order.order_id, f"the {peer} service was never asked")
            elif peer == "stock" or history.with_payment:
                yield from _held(order, peer, lines)
        yield from _quantities(order, stock.get(order.order_id, []))
        if order.order_id in payments and not _ids(stock.get(order.order_id, []), Entry.TAKEN):
            yield Violation(Rule.PAID_AFTER_TAKEN, order.order_id, "money was asked for without stock")
    for order_id in (stock.keys() | payments.keys()) - {order.order_id for order in history.orders}:
        yield Violation(Rule.BOOKED_FOR_AN_ORDER, order_id, "is in a peer's books and is not there")


def _by_order(books: Sequence[Booking]) -> Mapping[str, list[Booking]]:
    lines: defaultdict[str, list[Booking]] = defaultdict(list)
    for line in books:
        lines[line.order_id].append(line)
    return lines


def _ids(lines: Sequence[Booking], *entries: Entry) -> set[str]:
    """The messages that led to such entries: a message that came again counts once."""
    return {line.message_id for line in lines if line.entry in entries}


def _held(order: StoredOrder, peer: str, lines: Sequence[Booking]) -> Iterator[Violation]:
    taken, undone = _ids(lines, Entry.TAKEN), _ids(lines, Entry.UNDONE)
    if len(_ids(lines, Entry.TAKEN, Entry.REFUSED, Entry.IGNORED)) > 1:
        yield Violation(Rule.ASKED_ONCE, order.order_id, f"the {peer} service was asked under several ids")
    elif len(undone) > 1:
        yield Violation(
            Rule.UNDONE_ONCE, order.order_id, f"the {peer} service was asked to undo under {len(undone)} ids"
        )
    elif undone and not taken:
        yield Violation(Rule.UNDONE_ONCE, order.order_id, f"the {peer} service undid what it never held")
    elif order.status == "CONFIRMED" and (not taken or undone):
        told = "was released or refunded" if taken else "was never taken or paid"
        yield Violation(Rule.HELD_IF_CONFIRMED, order.order_id, f"{peer} of a confirmed order {told}")
    elif order.status == "CANCELLED" and taken and not undone:
        yield Violation(Rule.UNDONE_IF_CANCELLED, order.order_id, f"{peer} of a cancelled order is kept")


def _quantities(order: StoredOrder, lines: Sequence[Booking]) -> Iterator[Violation]:
    pairs = (one.rpartition(":") for one in order.content.split(" "))
    wanted = {product: int(rest.partition("x")[0]) for product, _, rest in pairs}
    for line in lines:
        if dict(line.quantities) != wanted:
            told = f"{line.entry} {dict(line.quantities)} where it has {wanted}"
            yield Violation(Rule.BOOKED_FOR_AN_ORDER, order.order_id, told)
