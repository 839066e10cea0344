"""Reads a part of the history for publishing it again, to a queue that joined late.

The events are as they were published: same ids, same bytes. They come in an order that keeps each order's versions in
theirs, and `windows` cuts that order so that no two events of one order are ever in flight together.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final
from uuid import UUID

from order_service.domain.events import EventType
from order_service.storage.events import ReplayRange, StoredEvent
from order_service.storage.unit_of_work import UnitOfWork

_PAGE: Final = 2_000
_WINDOW: Final = 1_000


async def count_events(unit_of_work: UnitOfWork, wanted: ReplayRange) -> Mapping[EventType, int]:
    """How many events of each type there are to publish."""
    return await unit_of_work.events.count_replay(wanted)


async def next_events(unit_of_work: UnitOfWork, wanted: ReplayRange, after: StoredEvent | None) -> list[StoredEvent]:
    """The events that follow `after`; none after the last."""
    return await unit_of_work.events.replay(wanted, after, _PAGE)


def windows(events: Sequence[StoredEvent]) -> Iterator[Sequence[StoredEvent]]:
    """The events in their order, cut where an order comes a second time, and where a window is full."""
    start = 0
    orders: set[UUID] = set()
    for place, event in enumerate(events):
        if event.order_id in orders or len(orders) == _WINDOW:
            yield events[start:place]
            start = place
            orders.clear()
        orders.add(event.order_id)
    if start < len(events):
        yield events[start:]
