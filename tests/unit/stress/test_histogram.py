"""Latencies, counted in buckets."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from order_service.stress.histogram import Histogram

LATENCIES = st.lists(st.floats(0, 4_000), min_size=1, max_size=200)


def histogram_of(values: list[float]) -> Histogram:
    histogram = Histogram()
    for value in values:
        histogram.record(value)
    return histogram


@given(values=LATENCIES, percent=st.sampled_from([0.1, 50.0, 95.0, 99.0, 100.0]))
def test_a_percentile_is_right_to_one_per_cent(values: list[float], percent: float) -> None:
    exact = sorted(values)[max(0, math.ceil(len(values) * percent / 100 - 1e-9) - 1)]

    told = histogram_of(values).percentile(percent)

    assert told == pytest.approx(exact, rel=0.01, abs=2e-6)


@given(first=LATENCIES, second=LATENCIES)
def test_two_added_up_are_as_if_all_had_been_recorded_in_one(first: list[float], second: list[float]) -> None:
    added = histogram_of(first)

    added.add(histogram_of(second))

    one = histogram_of(first + second)
    assert (list(added.buckets()), added.summary()) == (list(one.buckets()), one.summary())


@given(values=LATENCIES)
def test_each_value_is_in_the_bucket_that_spans_it(values: list[float]) -> None:
    for value in values:
        ((lower, upper, count),) = histogram_of([value]).buckets()

        assert count == 1
        assert lower <= value + 1e-6
        assert value < upper + 1e-9
        assert upper - lower <= max(lower * 0.01, 1.1e-6)


def test_the_greatest_value_is_exact() -> None:
    summary = histogram_of([0.001, 0.123_456_7]).summary()

    assert summary is not None
    assert summary.max == 0.123_456_7


def test_memory_does_not_grow_with_the_number_of_values() -> None:
    histogram = histogram_of([number / 1_000 for number in range(50_000)])

    assert histogram.count == 50_000
    assert len(list(histogram.buckets())) < 2_500


def test_nothing_recorded_has_no_summary() -> None:
    empty = Histogram()

    assert (empty.summary(), empty.percentile(99), list(empty.buckets())) == (None, 0.0, [])


def test_a_clock_that_went_back_counts_as_no_time() -> None:
    assert histogram_of([-0.5]).percentile(50) == 0.0
