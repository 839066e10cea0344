"""A histogram as text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from order_service.stress import bars
from tests.unit.stress.test_histogram import LATENCIES, histogram_of


@given(values=LATENCIES)
def test_rows_are_few_hold_every_value_and_leave_no_gap(values: list[float]) -> None:
    rows = bars.rows(histogram_of(values))

    assert len(rows) <= 16
    assert sum(row.count for row in rows) == len(values)
    assert rows[0].count > 0 < rows[-1].count
    assert [row.upper for row in rows[:-1]] == [row.lower for row in rows[1:]]


def test_the_most_frequent_row_is_as_wide_as_there_is_room() -> None:
    lines = list(bars.lines(histogram_of([0.0011] * 50 + [0.0045] * 100 + [0.04]), 20))

    assert lines[0] == "   1 ms - 1.5 ms  " + "█" * 10 + " " * 10 + "        50  33.1%"
    assert lines[3] == "   3 ms - 5 ms    " + "█" * 20 + "       100  66.2%"
    assert lines[-1].split()[5] == "▎"


def test_nothing_has_no_rows() -> None:
    assert list(bars.lines(histogram_of([]), 20)) == []


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0.0, "0 us"),
        (0.000_25, "250 us"),
        (0.0012, "1.20 ms"),
        (0.0267, "26.7 ms"),
        (0.9994, "999 ms"),
        (0.9999, "1.00 s"),
        (10.23, "10.2 s"),
        (1234.5, "1,234 s"),
    ],
)
def test_a_duration_is_told_in_the_unit_that_suits(seconds: float, told: str) -> None:
    assert bars.duration(seconds) == told


@given(seconds=st.floats(0, 10_000))
def test_a_duration_is_told_to_one_per_cent(seconds: float) -> None:
    number, unit = bars.duration(seconds).split()

    told = float(number.replace(",", "")) * {"us": 1e-6, "ms": 1e-3, "s": 1.0}[unit]
    assert told == pytest.approx(seconds, rel=0.01, abs=1e-6)
