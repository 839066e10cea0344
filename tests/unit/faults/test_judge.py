"""The judge is silent on a good run, and hears each single thing that goes wrong."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.faults.history import Event, History
from tests.faults.judge import Rule, judge, repeats
from tests.unit.faults.corruptions import ALL, Corruption
from tests.unit.faults.good_history import CONFIRMED, PAYMENT, good_history

GOOD = good_history()
ONCE = [
    place
    for place, event in enumerate(GOOD.events)
    if Counter(event.message_id for event in GOOD.events)[event.message_id] == 1
]
"""Where the events are that came once."""

NEIGHBOURS = [
    (place, place + 1)
    for place in ONCE
    if place + 1 in ONCE and GOOD.events[place].body["order_id"] == GOOD.events[place + 1].body["order_id"]
]
"""Events of one order that came one after the other."""


def test_a_run_in_which_every_promise_was_kept_is_not_complained_of() -> None:
    assert judge(GOOD) == []


def test_what_came_again_under_its_id_is_counted() -> None:
    assert repeats(GOOD) == 1


@pytest.mark.parametrize("corruption", ALL, ids=lambda corruption: corruption.name)
def test_each_single_thing_that_goes_wrong_breaks_its_rule_and_no_other(corruption: Corruption) -> None:
    corrupted = corruption.change(GOOD)

    assert corrupted != GOOD
    assert {violation.rule for violation in judge(corrupted)} == {corruption.rule}


def test_every_rule_is_broken_by_something() -> None:
    assert {corruption.rule for corruption in ALL} == set(Rule)


def test_without_a_payment_step_nobody_may_ask_for_money() -> None:
    without = replace(GOOD, with_payment=False)

    broken = [violation for violation in judge(without) if violation.rule is Rule.EVENTS_OF_THE_CONTRACT]

    paid_for = {event.body["order_id"] for event in GOOD.events if event.type == PAYMENT}
    assert {violation.order_id for violation in broken} == paid_for


def test_reads_that_overlap_a_change_may_tell_either() -> None:
    (read,) = [
        call for call in GOOD.calls if (call.order_id, call.status) == ("order-confirmed", CONFIRMED[6:].upper())
    ][:1]
    overlapping = replace(read, began_at=read.began_at - 0.2, status="PENDING")

    assert judge(replace(GOOD, calls=(*GOOD.calls, overlapping))) == []


def with_events(events: list[Event]) -> History:
    return replace(GOOD, events=tuple(events))


@given(st.sampled_from(ONCE))
def test_any_event_that_is_dropped_is_missed(place: int) -> None:
    events = [event for number, event in enumerate(GOOD.events) if number != place]

    assert judge(with_events(events))


@given(st.sampled_from(NEIGHBOURS))
def test_any_two_events_of_an_order_that_are_swapped_are_noticed(places: tuple[int, int]) -> None:
    events = list(GOOD.events)
    first, second = places
    events[first], events[second] = events[second], events[first]

    assert judge(with_events(events))


@given(st.sampled_from(range(len(GOOD.events))), st.integers(0, len(GOOD.events)))
def test_any_event_that_comes_again_under_another_id_is_noticed(place: int, later: int) -> None:
    events = list(GOOD.events)
    events.insert(later, replace(GOOD.events[place], message_id="another"))

    assert judge(with_events(events))


@given(st.sampled_from(range(len(GOOD.events))), st.integers(0, len(GOOD.events)))
def test_any_event_that_comes_again_under_its_id_and_after_its_first_time_is_let_pass(place: int, later: int) -> None:
    events = list(GOOD.events)
    events.insert(max(place + 1, later), GOOD.events[place])

    assert judge(replace(with_events(events), most_repeats=None)) == []
