"""The figures of a run, each counted: what was asked, what the database, the broker and the peers say became of it."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from order_service.demo.counting import Percentiles, Stored
from order_service.demo.placing import Placed
from order_service.demo.recorder import Recorder
from order_service.demo.scenario import ENDINGS, Kind, Scenario
from order_service.demo.scraping import Told
from order_service.domain.events import EventType
from order_service.domain.status import FINAL_STATUSES, OrderStatus

_OUTCOMES = FINAL_STATUSES | {OrderStatus.CONFIRMED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What a run is judged by. Where something can be wrong with single orders or events, their ids are kept."""

    run_id: str
    seed: int
    planned: int
    orders: int
    """Acknowledged by CreateOrder."""
    failures: tuple[str, ...]
    by_outcome: Mapping[str, int]
    by_reason: Mapping[str, int]
    lost_orders: tuple[str, ...]
    """Acknowledged, and missing or without an outcome."""
    wrong_endings: tuple[str, ...]
    """Orders that ended otherwise than what happened to them calls for."""
    events_in_history: int
    events_published: int
    """As heard by the recorder, repeats included."""
    events_distinct: int
    lost_events: tuple[str, ...]
    """In the history, and never heard."""
    out_of_order: tuple[str, ...]
    unsent: int
    duplicates_sent: int
    duplicates_ignored: int
    late_sent: int
    late_replies: int
    releases_due: int
    releases: int
    compensations: int
    parked: int
    stock_mismatches: tuple[str, ...]
    """Orders for which the stock service holds something else than what was confirmed."""
    seconds: Percentiles | None
    seconds_answered_in_time: Percentiles | None

    @property
    def lost(self) -> int:
        """Everything that must not go missing and did."""
        return len(self.lost_orders) + len(self.lost_events) + len(self.stock_mismatches)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What each witness says of a run: who placed the orders, the database, who heard the events, the stock service's
    books, and the processes' own counters."""

    scenario: Scenario
    placed: Placed
    stored: Stored
    recorder: Recorder
    held: Mapping[str, Mapping[str, int]]
    told: Told


def figures_of(evidence: Evidence) -> Figures:
    """Adds everything up."""
    scenario, stored, recorder, told = evidence.scenario, evidence.stored, evidence.recorder, evidence.told
    types = Counter(stored.events.values())
    return Figures(
        run_id=scenario.run_id,
        seed=scenario.seed,
        planned=len(scenario.orders),
        orders=len(evidence.placed.acknowledged),
        failures=tuple(evidence.placed.failures),
        by_outcome=Counter(status for status, _ in stored.orders.values()),
        by_reason=Counter(reason for _, reason in stored.orders.values() if reason),
        lost_orders=_lost_orders(evidence),
        wrong_endings=_wrong_endings(evidence),
        events_in_history=len(stored.events),
        events_published=recorder.ids.total(),
        events_distinct=len(recorder.ids),
        lost_events=tuple(sorted(stored.events.keys() - recorder.ids.keys())),
        out_of_order=tuple(recorder.out_of_order),
        unsent=stored.unsent,
        duplicates_sent=scenario.count(Kind.ANSWERED_TWICE),
        duplicates_ignored=told.duplicates_ignored,
        late_sent=scenario.count(Kind.ANSWERED_LATE),
        late_replies=told.late_replies,
        releases_due=sum(ENDINGS[order.kind].released for order in scenario.orders),
        releases=types[EventType.STOCK_RELEASE_REQUESTED.value],
        compensations=told.compensations,
        parked=stored.parked,
        stock_mismatches=_stock_mismatches(evidence),
        seconds=stored.seconds,
        seconds_answered_in_time=stored.seconds_answered_in_time,
    )


def _lost_orders(evidence: Evidence) -> tuple[str, ...]:
    orders = evidence.stored.orders
    return tuple(
        order_id
        for order_id in evidence.placed.acknowledged
        if order_id not in orders or OrderStatus(orders[order_id][0]) not in _OUTCOMES
    )


def _wrong_endings(evidence: Evidence) -> tuple[str, ...]:
    orders = evidence.stored.orders
    return tuple(
        f"{order_id} ({order.kind}: {' '.join(orders[order_id])})"
        for order_id, order in evidence.placed.acknowledged.items()
        if order_id in orders
        and orders[order_id] != (ENDINGS[order.kind].status, ENDINGS[order.kind].reason_code or "")
    )


def _stock_mismatches(evidence: Evidence) -> tuple[str, ...]:
    """Only our orders: the stock service may have others."""
    confirmed = evidence.stored.confirmed_items
    return tuple(
        order_id
        for order_id in evidence.stored.orders
        if evidence.held.get(order_id, {}) != confirmed.get(order_id, {})
    )
