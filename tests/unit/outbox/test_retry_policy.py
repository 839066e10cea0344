"""When an event that nobody took is tried again."""

import pytest

from order_service.outbox.retry_policy import delay_seconds


def middle(low: float, high: float) -> float:
    """Jitter that does not."""
    return (low + high) / 2


@pytest.mark.parametrize(
    ("attempts", "seconds"), [(0, 0.5), (1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (8, 60), (10_000, 60)]
)
def test_the_delay_doubles_up_to_a_minute(attempts: int, seconds: float) -> None:
    assert delay_seconds(attempts, middle) == seconds


@pytest.mark.parametrize("attempts", [0, 3, 100])
def test_the_delay_is_jittered_by_a_quarter_either_way(attempts: int) -> None:
    shortest = delay_seconds(attempts, lambda low, high: low)
    longest = delay_seconds(attempts, lambda low, high: high)

    assert shortest == 0.75 * delay_seconds(attempts, middle)
    assert longest == 1.25 * delay_seconds(attempts, middle)


def test_events_that_failed_together_are_not_tried_again_together() -> None:
    delays = [delay_seconds(3) for _ in range(100)]

    assert len(set(delays)) > 50
    assert all(3 <= delay <= 5 for delay in delays)
