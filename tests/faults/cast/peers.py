"""The stock service and the payment service, with books of their own."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar

from aio_pika.abc import AbstractIncomingMessage

from tests.faults.cast.listening import Listener, Source
from tests.faults.history import Booking, Entry


class Manner(StrEnum):
    """How a peer answers."""

    AGREES = "AGREES"
    REFUSES = "REFUSES"
    SILENT = "SILENT"
    LATE = "LATE"
    """Agrees once it has heard that the order was cancelled."""
    TWICE = "TWICE"
    """Agrees, and says so twice."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that has not been answered yet."""

    order_id: str
    message_id: str
    quantities: Mapping[str, int]


class Peer(Listener):
    """Answers requests as their `manners` say. It does not recognise one that comes again: it does it again."""

    manners: ClassVar[Mapping[str, Manner]]
    """By prefix; whoever has none of them is agreed to."""

    def __init__(self, urls: Sequence[str], quorum: bool, prefetch: int) -> None:
        super().__init__(urls, quorum, prefetch)
        self.books: list[Booking] = []
        self._late: dict[str, Asked] = {}
        self._cancelled: set[str] = set()

    def names(self, body: Mapping[str, Any]) -> Sequence[str]:
        """What the prefixes are looked for in."""
        raise NotImplementedError

    def handle(self, source: Source, message: AbstractIncomingMessage) -> Sequence[dict[str, Any]]:
        body = json.loads(message.body)
        asked = Asked(body["order_id"], message.message_id or "", _quantities(body.get("items", ())))
        _, undoings, cancellations = self.sources
        if source == undoings:
            self._book(Entry.UNDONE, asked)
            return ()
        if source == cancellations:
            self._cancelled.add(asked.order_id)
            # Kept: if the answer does not reach the broker, the cancellation comes again, and with it the answer.
            late = self._late.get(asked.order_id)
            return self._agree(late) if late else ()
        return self._answer(asked, self._manner(body))

    def entries_of(self, order_id: str) -> list[Entry]:
        """What is in the books of one order, as it came."""
        return [line.entry for line in self.books if line.order_id == order_id]

    def _answer(self, asked: Asked, manner: Manner) -> Sequence[dict[str, Any]]:
        if manner is Manner.REFUSES:
            self._book(Entry.REFUSED, asked)
            return [{"order_id": asked.order_id, "success": False, "reason": "no"}]
        if manner is Manner.SILENT:
            self._book(Entry.IGNORED, asked)
            return ()
        if manner is Manner.LATE and asked.order_id not in self._cancelled:
            self._late[asked.order_id] = asked
            self._book(Entry.IGNORED, asked)
            return ()
        return list(self._agree(asked)) * (2 if manner is Manner.TWICE else 1)

    def _agree(self, asked: Asked) -> Sequence[dict[str, Any]]:
        self._book(Entry.TAKEN, asked)
        return [{"order_id": asked.order_id, "success": True}]

    def _book(self, entry: Entry, asked: Asked) -> None:
        self.books.append(Booking(entry, asked.order_id, asked.message_id, asked.quantities))

    def _manner(self, body: Mapping[str, Any]) -> Manner:
        found = (
            manner for name in self.names(body) for prefix, manner in self.manners.items() if name.startswith(prefix)
        )
        return next(found, Manner.AGREES)


class StockService(Peer):
    """The product service: it takes OrderCreated and answers StockUpdateResult, by the prefix of the products."""

    sources = (
        Source("product_service_order_created_queue", "orders_exchange", "fanout", ""),
        Source("product_service_release_queue", "order.events", "topic", "order.stock_release_requested"),
        Source("product_service_cancelled_queue", "order.events", "topic", "order.cancelled"),
    )
    replies_exchange = "stock_update_exchange"
    manners: ClassVar = {
        "refuse-": Manner.REFUSES,
        "silent-": Manner.SILENT,
        "late-": Manner.LATE,
        "twice-": Manner.TWICE,
    }

    def names(self, body: Mapping[str, Any]) -> Sequence[str]:
        return [item["product_id"] for item in body["items"]]


class PaymentService(Peer):
    """It takes order.payment_requested and answers PaymentResult, by the prefix of the user: that is all it is told."""

    sources = (
        Source("payment_requests", "order.events", "topic", "order.payment_requested"),
        Source("payment_refunds", "order.events", "topic", "order.payment_refund_requested"),
        Source("payment_cancelled", "order.events", "topic", "order.cancelled"),
    )
    replies_exchange = "payment_result_exchange"
    manners: ClassVar = {
        "broke-": Manner.REFUSES,
        "absent-": Manner.SILENT,
        "slow-": Manner.LATE,
        "double-": Manner.TWICE,
    }

    def names(self, body: Mapping[str, Any]) -> Sequence[str]:
        return [body["user_id"]]


def _quantities(items: Sequence[Mapping[str, Any]]) -> Mapping[str, int]:
    quantities: Counter[str] = Counter()
    for item in items:
        quantities[item["product_id"]] += item["quantity"]
    return dict(quantities)
