"""Reads a part of the history for publishing it again, to a queue that joined late.

The events are as they were published: same ids, same bytes. They come in an order that keeps each order's versions in
theirs, and `windows` cuts that order so that no two events of one order are ever in flight together.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Final
from uuid import UUID

from order_service.domain.events import EventType
from order_service.storage.events import FETCHED_BYTES, ReplayRange, StoredEvent
from order_service.storage.unit_of_work import UnitOfWork

_PAGE: Final = 2_000
_WINDOW: Final = 1_000
_SLICE: Final = timedelta(seconds=1)
_WIDER: Final = 8


async def count_events(unit_of_work: UnitOfWork, wanted: ReplayRange) -> Mapping[EventType, int]:
    """How many events of each type there are to publish."""
    return await unit_of_work.events.count_replay(wanted)


async def next_events(unit_of_work: UnitOfWork, wanted: ReplayRange, after: StoredEvent | None) -> list[StoredEvent]:
    """The first of the events that follow `after`, as many as memory bears; none after the last.

    They are looked for in ever longer slices of time, so that a page costs what it holds and not what follows it.
    """
    start = after.occurred_at if after else wanted.from_time
    rest, width = wanted.until_time - start, _SLICE
    while True:
        within = replace(wanted, until_time=start + min(width, rest))
        page = await unit_of_work.events.replay(within, after, _PAGE)
        if _is_full(page) or width >= rest:
            return page
        width *= _WIDER


def _is_full(page: Sequence[StoredEvent]) -> bool:
    return len(page) == _PAGE or sum(len(event.payload.encode()) for event in page) >= FETCHED_BYTES


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
