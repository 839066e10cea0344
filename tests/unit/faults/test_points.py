"""Counting until nothing is left, although no two runs have quite as many messages."""

import itertools

import pytest

from tests.faults.points import (
    ALL_SERIES,
    Enumeration,
    Mode,
    Phase,
    Point,
    Process,
    Series,
    parse_point,
)
from tests.faults.wire import Act, Direction, Message, Protocol

SERIES = Series(Process.WORKER, Phase.AT_WORK, Mode.KILL_BEFORE)


def tried(enumeration: Enumeration, lengths: "itertools.cycle[int]") -> list[int]:
    """Works it off one by one; each run has the next of these lengths."""
    numbers = []
    while not enumeration.is_over:
        point = enumeration.take()
        assert point is not None
        numbers.append(point.number)
        enumeration.tell(point.number, reached=point.number <= next(lengths))
    return numbers


def test_every_message_is_tried_and_then_it_ends() -> None:
    enumeration = Enumeration(SERIES)

    numbers = tried(enumeration, itertools.cycle([5]))

    assert enumeration.reached == {1, 2, 3, 4, 5}
    assert sorted(set(numbers)) == [1, 2, 3, 4, 5, 6, 7, 8]


def test_what_a_short_run_did_not_reach_is_tried_again() -> None:
    enumeration = Enumeration(SERIES)

    tried(enumeration, itertools.cycle([9, 9, 2]))

    assert enumeration.reached == set(range(1, 10))


def test_what_is_under_way_elsewhere_keeps_it_from_ending() -> None:
    enumeration = Enumeration(SERIES, last=2)
    first, second = enumeration.take(), enumeration.take()

    nothing_to_take = enumeration.take()
    over_while_under_way = enumeration.is_over
    for point in (first, second):
        assert point is not None
        enumeration.tell(point.number, reached=True)

    assert nothing_to_take is None
    assert not over_while_under_way
    assert enumeration.is_over


def test_bounds_are_kept() -> None:
    enumeration = Enumeration(SERIES, first=3, last=4)

    assert tried(enumeration, itertools.cycle([100])) == [3, 4]


@pytest.mark.parametrize("series", ALL_SERIES)
def test_a_point_is_read_as_it_is_written(series: Series) -> None:
    point = Point(series, 137)

    assert parse_point(str(point)) == point


@pytest.mark.parametrize("text", ["", "api", "api:kill:1", "api:cut:0", "api-end:cut:1", "worker:hang:1x"])
def test_what_is_no_point_is_told(text: str) -> None:
    with pytest.raises(ValueError, match="is no point"):
        parse_point(text)


def test_a_plan_breaks_its_message_and_no_other() -> None:
    plan = parse_point("api:cut:2").plan
    messages = [Message(number, 1, Protocol.GRPC, Direction.TO_CLIENT, "DATA", b"") for number in (1, 2, 3)]

    assert [plan(message) for message in messages] == [Act.PASS, Act.CUT, Act.PASS]
