"""A demo that could not fail would prove nothing: every kind of fault is planted, and has to be told."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from order_service.demo.books import held
from order_service.demo.checks import problems
from order_service.demo.counting import Percentiles, Stored
from order_service.demo.figures import Evidence, figures_of
from order_service.demo.placing import Placed
from order_service.demo.recorder import Recorder
from order_service.demo.report import Report
from order_service.demo.scenario import Kind, PlannedItem, PlannedOrder, Scenario
from order_service.demo.scraping import Told

TEA: Mapping[str, int] = {"tea": 2}
ENDS = {
    Kind.IN_STOCK: ("CONFIRMED", ""),
    Kind.OUT_OF_STOCK: ("CANCELLED", "STOCK_REFUSED"),
    Kind.NEVER_ANSWERED: ("CANCELLED", "STOCK_TIMEOUT"),
    Kind.CANCELLED: ("CANCELLED", "CANCELLED_BY_OWNER"),
    Kind.ANSWERED_TWICE: ("CONFIRMED", ""),
    Kind.ANSWERED_LATE: ("CANCELLED", "STOCK_TIMEOUT"),
}
CONFIRMED = [kind.value for kind, (status, _) in ENDS.items() if status == "CONFIRMED"]
EVENTS = {
    **{f"{kind}-1": "order.created" for kind in Kind},
    **{f"{kind}-2": "order.confirmed" if ENDS[kind][0] == "CONFIRMED" else "order.cancelled" for kind in Kind},
    "cancelled-3": "order.stock_release_requested",
    "answered-late-3": "order.stock_release_requested",
}
SECONDS = Percentiles(0.01, 0.02, 0.03)


def an_order(kind: Kind) -> PlannedOrder:
    return PlannedOrder(kind, "demo-run-00", kind.value, (PlannedItem("tea", 2, 1_999),))


def a_recorder() -> Recorder:
    recorder = Recorder("run")
    for message_id in sorted(EVENTS):
        recorder.ids[message_id] += 1
        order_id, _, version = message_id.rpartition("-")
        recorder.versions.setdefault(order_id, []).append(int(version))
    return recorder


def a_good_run() -> Evidence:
    """One order of each kind, whose id is the name of its kind, and all as it has to be."""
    orders = tuple(an_order(kind) for kind in Kind)
    return Evidence(
        scenario=Scenario("run", 1, orders),
        placed=Placed({order.kind.value: order for order in orders}),
        stored=Stored(
            orders={kind.value: end for kind, end in ENDS.items()},
            events=EVENTS,
            confirmed_items=dict.fromkeys(CONFIRMED, TEA),
            unsent=0,
            parked=1,
            seconds=SECONDS,
            seconds_answered_in_time=SECONDS,
        ),
        recorder=a_recorder(),
        held=dict.fromkeys(CONFIRMED, TEA),
        told=Told(duplicates_ignored=1, late_replies=2, compensations=2),
    )


def stored(**changes: Any) -> Evidence:
    return replace(a_good_run(), stored=replace(a_good_run().stored, **changes))


def heard(evidence: Evidence, order_id: str, versions: list[int]) -> Evidence:
    evidence.recorder.versions[order_id] = versions
    return evidence


def without(whole: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in whole.items() if key != name}


def not_heard(message_id: str) -> Evidence:
    run = a_good_run()
    del run.recorder.ids[message_id]
    return run


def called_in_vain() -> Evidence:
    run = a_good_run()
    run.placed.failures.append("run-0: INTERNAL internal error")
    return run


ORDERS = a_good_run().stored.orders
FAULTS = {
    "an acknowledged order is missing": stored(orders=without(ORDERS, "in-stock")),
    "an acknowledged order has no outcome": stored(orders={**ORDERS, "in-stock": ("PENDING", "")}),
    "an event was never published": not_heard("in-stock-2"),
    "stock is held for a cancelled order": replace(a_good_run(), held={**a_good_run().held, "cancelled": TEA}),
    "stock was taken twice": replace(a_good_run(), held={**a_good_run().held, "in-stock": {"tea": 4}}),
    "stock is not held for a confirmed order": replace(a_good_run(), held=without(a_good_run().held, "in-stock")),
    "events came out of order": heard(a_good_run(), "cancelled", [1, 3, 2]),
    "a version is missing": heard(a_good_run(), "cancelled", [1, 3]),
    "an event still waits in the outbox": stored(unsent=1),
    "a repeated reply was not noticed": replace(a_good_run(), told=Told(0, 2, 2)),
    "a late reply was not noticed": replace(a_good_run(), told=Told(1, 0, 2)),
    "a release was not asked for": stored(events=without(EVENTS, "answered-late-3")),
    "a release was asked for twice": replace(a_good_run(), told=Told(1, 2, 3)),
    "the poison is not parked": stored(parked=0),
    "more than the poison is parked": stored(parked=2),
    "an order ended otherwise": stored(orders={**ORDERS, "in-stock": ("CANCELLED", "STOCK_TIMEOUT")}),
    "a call failed": called_in_vain(),
}
LOSSES = list(FAULTS)[:6]


def test_a_good_run_is_judged_good() -> None:
    assert problems(figures_of(a_good_run())) == []


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_told(fault: str) -> None:
    assert problems(figures_of(FAULTS[fault]))


@pytest.mark.parametrize("fault", LOSSES)
def test_a_planted_loss_is_counted_as_lost(fault: str) -> None:
    report = Report(figures_of(FAULTS[fault]), 1.0, ["postgresql (private)"]).as_json()

    assert (report["ok"], report["lost"]) == (False, 1)


def test_what_was_heard_twice_is_no_loss_but_told() -> None:
    run = a_good_run()
    run.recorder.ids["in-stock-1"] += 1

    report = Report(figures_of(run), 1.0, []).as_json()

    assert (report["ok"], report["events_repeated"]) == (True, 1)


def test_the_books_add_up_what_was_taken_and_released() -> None:
    entries: list[dict[str, Any]] = [
        {"event": "stock.listening"},
        {"event": "stock.taken", "order_id": "kept", "items": {"tea": 2, "cup": 1}},
        {"event": "stock.taken", "order_id": "kept", "items": {"tea": 2, "cup": 1}},
        {"event": "stock.taken", "order_id": "gone", "items": {"tea": 1}},
        {"event": "stock.released", "order_id": "gone", "items": {"tea": 1}},
        {"event": "stock.released", "order_id": "never taken", "items": {"tea": 1}},
    ]

    assert held(entries) == {"kept": {"tea": 4, "cup": 2}, "never taken": {"tea": -1}}
