"""Small versions of what `make endurance` runs, for the bounds that do not need its size."""

import math
from collections.abc import Awaitable, Callable

import pytest

from tests.endurance import backlog, poison, stops, stuck_sagas
from tests.endurance.measured import Bound, Result, Tell, percentile
from tests.integration.platform import Platform
from tests.integration.stopwatch import Stopwatch

SCALE = 0.01
RATIOS_ARE_NOISE = {
    "alone: last quarter's speed / first quarter's",
    "with an old transaction: last quarter's speed / first quarter's",
    "healthy p99 with poison / without, median of pairs",
    "burst beside stuck sagas / without",
    "time to confirm beside stuck sagas / without, p50",
}
"""So few rows go by too quickly to compare speeds."""
IN_SECONDS = {"seconds that deadlines are late, p99", "seconds to exit, at most"}
"""What the machine may take for itself, if it stands still meanwhile."""


@pytest.mark.parametrize(
    "run",
    [
        backlog.drains_evenly,
        poison.is_parked_once_and_holds_nobody_up,
        stops.lose_nothing,
        stuck_sagas.do_not_slow_fresh_ones,
    ],
    ids=["backlog", "poison", "stops", "stuck-sagas"],
)
async def test_a_small_one_keeps_its_bounds(
    platform: Platform, run: Callable[[Platform, float, Tell], Awaitable[Result]]
) -> None:
    with Stopwatch.running() as watch:
        result = await run(platform, SCALE, lambda share, doing: None)

    bounds = [bound for bound in result.bounds if bound.what not in RATIOS_ARE_NOISE]
    missed = [bound for bound in bounds if not bound.ok]
    by_the_service = [
        bound for bound in missed if bound.what not in IN_SECONDS or bound.measured - watch.longest > bound.most
    ]
    assert by_the_service == [], result


def test_a_bound_says_whether_it_holds_and_what_cannot_be_measured_does_not() -> None:
    held = [
        Bound("", 0.9, least=0.9).ok,
        Bound("", 1.0, most=1.0).ok,
        Bound("", 0.0, least=0, most=0).ok,
    ]
    missed = [
        Bound("", 0.89, least=0.9).ok,
        Bound("", 1.01, most=1.0).ok,
        Bound("", math.nan, most=1.0).ok,
    ]

    assert all(held)
    assert not any(missed)


def test_a_percentile_is_one_of_the_values() -> None:
    values = [float(value) for value in range(1, 101)]

    assert percentile(values, 0.5) == 50
    assert percentile(values, 0.99) == 99
    assert percentile([7.0], 0.99) == 7
    assert math.isnan(percentile([], 0.99))
