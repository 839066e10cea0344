"""Where the next look at each bucket begins: near where the last one ended, and now and then from the start."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from order_service.domain.events import EventType
from order_service.outbox.scan import Scan
from order_service.storage.events import StoredEvent
from order_service.storage.outbox import DueEvent

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
START = datetime(1, 1, 1, tzinfo=UTC)


def due(bucket: int, at: datetime) -> DueEvent:
    event = StoredEvent(UUID(int=bucket), 1, UUID(int=1), EventType.ORDER_CREATED, NOON, "", "{}")
    return DueEvent(event, bucket, 0, at, timedelta())


def test_the_first_look_begins_at_the_start_of_each_leased_bucket() -> None:
    assert Scan().since([3, 5], 0.0) == {3: START, 5: START}


def test_the_next_look_begins_a_little_before_where_the_last_one_ended() -> None:
    scan = Scan()
    scan.since([3, 5], 10.0)

    scan.saw([due(3, NOON), due(3, NOON + timedelta(seconds=7))])

    assert scan.since([3, 5], 10.5) == {3: NOON + timedelta(seconds=6), 5: START}


def test_a_look_that_finds_only_older_events_moves_nothing_back() -> None:
    scan = Scan()
    scan.since([3], 10.0)
    scan.saw([due(3, NOON)])

    scan.saw([due(3, NOON - timedelta(hours=1))])

    assert scan.since([3], 10.5) == {3: NOON - timedelta(seconds=1)}


def test_a_look_that_finds_nothing_moves_nothing() -> None:
    scan = Scan()
    scan.since([3], 10.0)

    scan.saw([])

    assert scan.since([3], 10.5) == {3: START}


@pytest.mark.parametrize(("later", "from_the_start"), [(0.0, False), (0.99, False), (1.0, True), (60.0, True)])
def test_every_second_a_look_begins_at_the_start_again(later: float, from_the_start: bool) -> None:
    scan = Scan()
    scan.since([3], 10.0)
    scan.saw([due(3, NOON)])

    since = scan.since([3], 10.0 + later)

    assert (since == {3: START}) is from_the_start


@pytest.mark.parametrize(("later", "from_the_start"), [(9.9, False), (10.0, True)])
def test_looks_from_the_start_that_take_long_are_a_twentieth_of_the_time(later: float, from_the_start: bool) -> None:
    scan = Scan()
    scan.since([3], 10.0)
    scan.saw([due(3, NOON)], seconds=0.5)
    scan.since([3], 10.5)
    scan.saw([due(3, NOON)], seconds=3.0)

    since = scan.since([3], 10.0 + later)

    assert (since == {3: START}) is from_the_start


@pytest.mark.parametrize(("later", "from_the_start"), [(7.9, False), (8.0, True)])
def test_looking_from_the_start_takes_as_many_looks_as_there_are_buckets_to_come(
    later: float, from_the_start: bool
) -> None:
    scan = Scan()
    for bucket in (3, 4):
        scan.since([3, 4], 10.0)
        scan.saw([due(bucket, NOON)], seconds=0.2)
    scan.since([3, 4], 10.5)
    scan.saw([due(3, NOON), due(4, NOON)], seconds=3.0)

    since = scan.since([3, 4], 10.0 + later)

    assert (set(since.values()) == {START}) is from_the_start


def test_after_a_look_from_the_start_the_next_begins_where_it_ended() -> None:
    scan = Scan()
    scan.since([3], 10.0)
    scan.saw([due(3, NOON)])
    scan.since([3], 11.0)

    scan.saw([due(3, NOON - timedelta(hours=1))])

    assert scan.since([3], 11.5) == {3: NOON - timedelta(hours=1, seconds=1)}


def test_a_due_time_at_the_beginning_of_time_does_not_overflow() -> None:
    scan = Scan()
    scan.since([3], 10.0)

    scan.saw([due(3, START)])

    assert scan.since([3], 10.5) == {3: START}


def test_a_look_begins_with_the_bucket_after_that_at_which_the_last_one_ended() -> None:
    scan = Scan()
    first = list(scan.since([3, 5, 9], 10.0))

    scan.saw([due(3, NOON), due(5, NOON)])
    second = list(scan.since([9, 5, 3], 10.5))
    scan.saw([due(9, NOON), due(3, NOON)])
    third = list(scan.since([3, 5, 9], 11.5))

    assert (first, second, third) == ([3, 5, 9], [9, 3, 5], [5, 9, 3])


def test_a_look_that_finds_nothing_takes_no_turn() -> None:
    scan = Scan()
    scan.saw([due(3, NOON)])

    scan.saw([])

    assert list(scan.since([3, 5, 9], 10.0)) == [5, 9, 3]
