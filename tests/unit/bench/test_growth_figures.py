"""What the growth measures make of what they saw."""

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise

import pytest

from tests.bench.growth import by_size, footprint, memory, old_transaction, workers
from tests.bench.growth.backlog import LOCK_WAITS
from tests.bench.growth.databases import BYTES_AN_ORDER, DiskTooSmall, check_space
from tests.bench.growth.filling import past_months
from tests.bench.growth.measured import Measured
from tests.bench.growth.plan import FILL, STEPS, plan
from tests.bench.growth.sizes import Sizes
from tests.bench.growth.turns import Rounds, figures_of, in_turn, median_ratio
from tests.bench.measured import Figure, Measure


def rounds(**sides: Sequence[float]) -> Rounds:
    """Sides by name ("_" for a blank), each with the value of every round."""
    return {
        name.replace("_", " ").strip(): [Figure(value, {"service": 10.0}) for value in values]
        for name, values in sides.items()
    }


def held(measured: Measured) -> list[tuple[float, bool]]:
    """Each bound: what was measured, and whether it holds."""
    return [(bound.measured, bound.ok) for bound in measured.result.bounds]


async def test_sides_are_measured_there_and_back_and_the_first_round_does_not_count() -> None:
    asked: list[str] = []

    def side(name: str) -> Measure:
        async def measure() -> Figure:
            asked.append(name)
            return Figure(float(len(asked)))

        return measure

    measured = await in_turn({name: side(name) for name in "abc"}, 2, lambda share, doing: None)

    assert "".join(asked) == "cba" + "abc" + "cba"
    assert {name: [one.value for one in figures] for name, figures in measured.items()} == {
        "a": [4.0, 9.0],
        "b": [5.0, 8.0],
        "c": [6.0, 7.0],
    }


async def test_what_is_told_grows_from_nothing_to_nearly_all() -> None:
    shares: list[float] = []

    async def measure() -> Figure:
        return Figure(1.0)

    await in_turn({"a": measure, "b": measure}, 3, lambda share, doing: shares.append(share))

    assert shares[0] == 0 < shares[-1] < 1
    assert all(before < after for before, after in pairwise(shares))


def test_a_drift_of_the_machine_leaves_ratios_alone() -> None:
    first, second = rounds(a=[100, 200, 400], b=[90, 180, 360]).values()

    assert median_ratio(second, first) == pytest.approx(0.9)


def test_the_figures_are_the_medians_of_each_side() -> None:
    figures = figures_of(rounds(a=[1, 5, 3]), "orders/s", "order")

    assert figures == {"a: orders/s": 3, "a: CPU us of service for order": 10.0}


@pytest.mark.parametrize(("large", "ok"), [(90, True), (89, False)])
def test_full_tables_may_cost_a_tenth_of_the_empty_speed(large: float, ok: bool) -> None:
    measured = by_size.result_of("relay", "events/s", {"none": 0, "many": 5_000}, rounds(none=[100], many=[large]))

    assert held(measured) == [(large / 100, ok)]
    assert measured.panel.curves == {"relay": [(0.0, 1.0), (5_000.0, large / 100)]}


def test_more_workers_are_compared_with_the_next_fewer() -> None:
    seen = {"1 worker": 100.0, "2 workers": 150.0, "4 workers": 145.0, "8 workers": 100.0}

    measured = workers.result_of({name: [Figure(value, more={LOCK_WAITS: 0.25})] for name, value in seen.items()})

    assert held(measured) == [(1.5, True), (0.967, True), (0.69, False)]
    assert measured.result.figures[f"8 workers: {LOCK_WAITS}"] == 0.25


def test_the_last_round_beside_an_old_transaction_counts_by_itself() -> None:
    seen = rounds(alone=[100, 100, 100], beside_an_old_transaction=[95, 90, 60])

    measured = old_transaction.result_of(seen, 1_000)

    assert held(measured) == [(0.9, True), (0.6, False)]
    assert measured.panel.curves["relay"] == [(2_000.0, 0.95), (3_000.0, 0.9), (4_000.0, 0.6)]


def test_memory_that_settles_is_flat_and_memory_that_creeps_is_not() -> None:
    settles = [(float(orders), 80.0 if orders > 40 else 60.0) for orders in range(0, 101, 10)]
    creeps = [(float(orders), 80.0 + orders / 10) for orders in range(0, 101, 10)]

    measured = memory.result_of({"api": settles, "worker": creeps})

    assert held(measured) == [(80.0, True), (0.0, True), (90.0, True), (pytest.approx(0.0575, abs=0.001), False)]


def test_fitted_growth_is_not_misled_by_its_ends() -> None:
    flat_but_for_the_last = [(float(orders), 100.0) for orders in range(50)] + [(50.0, 110.0)]

    assert memory.fitted_growth(flat_but_for_the_last) < 0.02


def test_the_median_of_the_starts_counts() -> None:
    took = {"api": [(0.8, 0.5), (9.0, 0.5), (0.7, 0.5)], "worker": [(2.5, 0.5), (2.6, 0.5), (0.9, 0.5)]}

    assert held(footprint.start_result(took)) == [(0.8, True), (2.5, False)]


def test_idling_is_judged_by_the_whole_time() -> None:
    spent = {"api": [(5.0, 0.01), (10.0, 0.02)], "worker": [(5.0, 0.2), (10.0, 0.21)]}

    measured = footprint.idle_result("idle", "0 orders", spent)

    assert held(measured) == [(0.2, True), (2.1, False)]
    assert [percent for _, percent in measured.panel.curves["worker"]] == pytest.approx([4.0, 2.1])


def test_the_months_before_this_one_are_those_that_the_rows_reach_back_to() -> None:
    months = past_months(datetime(2025, 12, 30, tzinfo=UTC), datetime(2026, 2, 3, tzinfo=UTC))

    assert [begins.strftime("%Y-%m-%d") for begins, _ in months] == ["2025-12-01", "2026-01-01"]
    assert [ends.strftime("%Y-%m-%d") for _, ends in months] == ["2026-01-01", "2026-02-01"]


def test_no_month_is_past_when_all_rows_are_of_this_one() -> None:
    assert past_months(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 31, tzinfo=UTC)) == []


def test_a_disk_that_is_too_small_is_refused_with_both_figures() -> None:
    check_space(5_000_000, 100_000_000_000)

    with pytest.raises(DiskTooSmall, match=r"5,000,000 orders need 15.5 GB and 1.0 GB are free"):
        check_space(5_000_000, 1_000_000_000)
    assert BYTES_AN_ORDER * 5_000_000 + 5_000_000_000 == 15_500_000_000


@pytest.mark.parametrize("scale", [0.0001, 0.001, 0.0037, 0.01, 0.1, 0.333, 1.0])
def test_the_listed_user_has_a_whole_share_of_every_size(scale: float) -> None:
    sizes = Sizes.at(scale)

    assert sizes.large % sizes.listed == 0
    assert sizes.listed <= sizes.middle < sizes.large


def test_the_full_size_is_what_was_asked_for() -> None:
    sizes = Sizes.at(1.0)

    assert (sizes.middle, sizes.large, sizes.listed, sizes.carried) == (1_000_000, 5_000_000, 10_000, 500_000)


def test_tables_are_filled_just_before_the_first_step_that_needs_them() -> None:
    steps = plan([])

    assert [step.name for step in steps if step is not FILL] == [step.name for step in STEPS]
    assert steps.index(FILL) == next(place for place, step in enumerate(STEPS) if step.needs_tables)


def test_what_needs_no_tables_fills_none() -> None:
    assert [step.name for step in plan(["idle", "start"])] == ["start", "idle"]


def test_a_whole_run_takes_less_than_an_hour() -> None:
    assert sum(step.takes(1.0) for step in plan([])) < 3_600
