"""Publishes a part of the history again, and knows at any time how far it has come."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from order_service.broker.connection import Channel, channel_of, connected
from order_service.broker.existing_queue import QueueMissing, require_queue
from order_service.broker.frames import Outgoing
from order_service.broker.publisher import Published, Verdict, publish
from order_service.broker.topology import EVENTS_EXCHANGE, declare
from order_service.domain.errors import BrokerUnavailable, OrderServiceError
from order_service.storage.database import Database
from order_service.storage.events import ReplayRange, StoredEvent
from order_service.use_cases.replay_events import next_events, windows


class ReplayRefused(OrderServiceError):
    """The broker refuses an event, such as a queue that is full. Mend that, then go on from there."""


@dataclass(frozen=True, slots=True)
class Destination:
    """Where to publish, as AMQP has it. With `routing_key` empty each event goes under its type."""

    exchange: str
    routing_key: str


EVERYBODY: Final = Destination(EVENTS_EXCHANGE, "")


def only_to(queue: str) -> Destination:
    """To one queue, through the default exchange."""
    return Destination("", queue)


class Replay:
    """One run. `published` events were confirmed, `unheard` ones had no listener; `reached` is where to go on after a
    failure: every event before it is done."""

    def __init__(self, wanted: ReplayRange, destination: Destination, on_progress: Callable[[int], None]) -> None:
        self.published = 0
        self.unheard = 0
        self.reached: datetime = wanted.from_time
        self._wanted = wanted
        self._destination = destination
        self._on_progress = on_progress

    async def run(self, database: Database, urls: Sequence[str]) -> None:
        """Publishes everything, each order's events in version order, no two of an order in flight together. Raises
        QueueMissing, ReplayRefused, BrokerUnavailable, StorageUnavailable; then `reached` says where to go on."""
        async with connected(urls, "replay") as connection, channel_of(connection) as channel:
            await self._prepare(channel)
            after: StoredEvent | None = None
            while page := await self._page(database, after):
                for window in windows(page):
                    await self._publish(channel, window)
                after = page[-1]

    async def _prepare(self, channel: Channel) -> None:
        if self._destination.exchange:
            await declare(channel)
        else:
            await require_queue(channel, self._destination.routing_key)

    async def _page(self, database: Database, after: StoredEvent | None) -> list[StoredEvent]:
        async with database.read() as unit_of_work:
            return await next_events(unit_of_work, self._wanted, after)

    async def _publish(self, channel: Channel, window: Sequence[StoredEvent]) -> None:
        self.reached = window[0].occurred_at
        messages = [_outgoing(event) for event in window]
        results = await publish(channel, messages, self._destination.exchange, self._destination.routing_key)
        for event, result in zip(window, results, strict=True):
            self.reached = event.occurred_at
            self._count(result)
        self._on_progress(len(window))

    def _count(self, result: Published) -> None:
        match result.verdict:
            case Verdict.CONFIRMED:
                self.published += 1
            case Verdict.RETURNED if self._destination.exchange:
                self.unheard += 1
            case Verdict.RETURNED:
                raise QueueMissing(f"the queue {self._destination.routing_key!r} is gone")
            case Verdict.REFUSED:
                raise ReplayRefused(result.told)
            case Verdict.UNKNOWN:
                raise BrokerUnavailable(f"the connection to RabbitMQ was lost ({result.told})")


def _outgoing(event: StoredEvent) -> Outgoing:
    return Outgoing(
        event_id=event.event_id,
        type=event.type.value,
        order_id=event.order_id,
        occurred_at=event.occurred_at,
        traceparent=event.traceparent,
        body=event.payload.encode(),
    )
