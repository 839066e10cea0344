"""Rates and percentiles of what was noted."""

import pytest

from tests.bench.rates import middle_rate, percentile


def test_an_even_pace_is_its_own_rate() -> None:
    marks = [(100 + 0.5 * step, 10) for step in range(20)]

    assert middle_rate(marks) == pytest.approx(20)


def test_slow_first_and_last_steps_do_not_count() -> None:
    middle = [(10 + 0.1 * step, 10) for step in range(80)]
    marks = [(0.0, 10), (5.0, 80), *middle, (40.0, 100), (90.0, 10)]

    assert middle_rate(marks) == pytest.approx(100)


def test_steps_of_different_sizes_count_by_what_they_did() -> None:
    marks = [(0.0, 10), (1.0, 30), (2.0, 10), (3.0, 40), (4.0, 10)]

    assert middle_rate(marks) == pytest.approx((30 + 10 + 40) / 3)


@pytest.mark.parametrize("marks", [[], [(1.0, 100)], [(1.0, 50), (1.0, 50)], [(1.0, 95), (9.0, 5)]])
def test_too_few_steps_have_no_rate(marks: list[tuple[float, int]]) -> None:
    with pytest.raises(ValueError, match="too few"):
        middle_rate(marks)


def test_a_percentile_is_one_of_the_values() -> None:
    values = [5.0, 1.0, 4.0, 2.0, 3.0]

    assert [percentile(values, share) for share in (0.0, 0.5, 0.99, 1.0)] == [1.0, 3.0, 5.0, 5.0]


def test_no_values_have_no_percentile() -> None:
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)
