"""A run over time."""

from hypothesis import given
from hypothesis import strategies as st

from order_service.stress.timeline import Timeline


@given(times=st.lists(st.floats(0, 100_000), min_size=1, max_size=200))
def test_however_long_a_run_takes_few_intervals_hold_everything(times: list[float]) -> None:
    timeline = Timeline()

    for time in times:
        interval = timeline.at(time)
        interval.accepted += 1
        interval.latencies.record(time)

    assert len(timeline.intervals) <= 120
    assert sum(interval.accepted for interval in timeline.intervals) == len(times)
    assert sum(interval.latencies.count for interval in timeline.intervals) == len(times)


def test_what_was_counted_stays_at_its_time_when_intervals_become_wider() -> None:
    timeline = Timeline()
    timeline.at(10.0).failed += 3

    timeline.at(1_000.0)

    assert timeline.intervals[int(10.0 / timeline.width)].failed == 3
    assert timeline.width == 16.0
