"""The arithmetic of a row: ratio, spread, and whether its target is met."""

from collections.abc import Mapping
from typing import Any

import pytest

from tests.bench.measured import Compared, Figure, Row
from tests.bench.plot import score
from tests.bench.words import target_text, value_text


def a_row(
    at_least: float | None = None,
    at_most: float | None = None,
    most: Mapping[str, float] | None = None,
    unit: str = "orders/s",
) -> Row:
    return Row("a-row", unit, "", "", _never_opened, at_least, at_most, most or {})


def _never_opened(*_: Any) -> Any:
    raise AssertionError("these rows are only reckoned with")


def compared(row: Row, *rounds: tuple[float, float], p99: float = 0.0) -> Compared:
    """Rounds of (limit, service)."""
    return Compared(row, [(Figure(limit), Figure(service, more={"p99": p99})) for limit, service in rounds])


def test_the_ratio_is_the_median_of_the_rounds_not_the_ratio_of_the_medians() -> None:
    one = compared(a_row(at_least=0.5), (100, 90), (200, 100), (300, 60))

    assert one.ratio == 0.5
    assert one.spread == (0.2, 0.9)
    assert (one.limit, one.service) == (200, 90)


@pytest.mark.parametrize(
    ("ratio", "row", "holds"),
    [
        (0.6, a_row(at_least=0.6), True),
        (0.59, a_row(at_least=0.6), False),
        (3.0, a_row(at_most=3), True),
        (3.01, a_row(at_most=3), False),
        (2.0, a_row(at_most=3, most={"p99": 0.06}), True),
        (2.0, a_row(at_most=3, most={"p99": 0.04}), False),
    ],
)
def test_a_row_holds_if_its_ratio_and_whatever_else_is_bounded_do(ratio: float, row: Row, holds: bool) -> None:
    one = compared(row, (1.0, ratio), p99=0.05)

    assert one.holds is holds


def test_one_bad_round_of_five_does_not_miss_a_target() -> None:
    one = compared(a_row(at_least=0.6), (100, 70), (100, 10), (100, 70), (100, 70), (100, 70))

    assert one.holds
    assert one.spread == (0.1, 0.7)


def test_a_row_as_json_has_all_that_the_table_shows_and_each_round() -> None:
    row = a_row(at_most=3, most={"p99": 0.06}, unit="s")
    rounds = [(Figure(0.01, {"limit": 5.0}), Figure(0.02, {"service": 9.0, "load": 1.0}, {"p99": 0.05}))]

    entry = Compared(row, rounds).as_json()

    assert entry == {
        "name": "a-row",
        "unit": "s",
        "service": 0.02,
        "limit": 0.01,
        "ratio": 2.0,
        "spread": [2.0, 2.0],
        "rounds": 1,
        "target": {"at_least": None, "at_most": 3, "p99": 0.06},
        "holds": True,
        "measured": [
            {
                "limit": {"value": 0.01, "cpu_us": {"limit": 5.0}},
                "service": {"value": 0.02, "cpu_us": {"service": 9.0, "load": 1.0}, "p99": 0.05},
            }
        ],
    }


@pytest.mark.parametrize(
    ("row", "ratio", "expected"),
    [(a_row(at_least=0.6), 0.6, 1.0), (a_row(at_least=10), 20, 2.0), (a_row(at_most=3), 1.5, 2.0)],
)
def test_in_the_picture_one_and_more_holds_whichever_way_is_better(row: Row, ratio: float, expected: float) -> None:
    assert score(compared(row, (1, ratio)), ratio) == pytest.approx(expected)


def test_figures_in_words() -> None:
    texts = [value_text(12_345.6, "orders/s"), value_text(1.25, "sagas/s"), value_text(0.01234, "s")]
    targets = [target_text(a_row(at_least=0.6)), target_text(a_row(at_most=3, most={"p99": 0.06}))]

    assert texts == ["12,346 orders/s", "1.2 sagas/s", "12.34 ms"]
    assert targets == [">= 0.6", "<= 3, p99 <= 60 ms"]
