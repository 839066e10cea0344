"""Hears every event of `order.events`, on a durable queue that is there before the first order."""

import json
from collections.abc import Sequence
from typing import Any

from aio_pika.abc import AbstractIncomingMessage

from tests.faults.cast.listening import Listener, Source
from tests.faults.history import Event


class Recorder(Listener):
    """Writes down each event, repeats included."""

    sources = (Source("cast_recorder", "order.events", "topic", "#"),)
    in_order = True

    def __init__(self, urls: Sequence[str], quorum: bool, prefetch: int) -> None:
        super().__init__(urls, quorum, prefetch)
        self.events: list[Event] = []
        self._heard: dict[str, Event] = {}

    def handle(self, source: Source, message: AbstractIncomingMessage) -> Sequence[dict[str, Any]]:
        event = Event(message.message_id or "", message.type or "", json.loads(message.body), message.body)
        # What comes back because this recorder lost its connection before its acknowledgement is no second publication.
        if not (message.redelivered and event == self._heard.get(event.message_id)):
            self.events.append(event)
        self._heard.setdefault(event.message_id, event)
        return ()

    def types_of(self, order_id: str) -> list[str]:
        """The types of one order's events, as they came."""
        return [event.type for event in self.events if event.body["order_id"] == order_id]
