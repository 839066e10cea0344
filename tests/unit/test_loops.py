"""Loops that are watched: one that ends by itself is a crash with a reason, and waiting has bounds."""

import asyncio
import math
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from structlog.testing import capture_logs

from order_service.domain.errors import ServiceUnavailable
from order_service.loops import Backoff, LoopEnded, Pace, Periodic, supervise, until_tick, wait_for_any, wait_for_event
from order_service.telemetry.metrics import Metrics
from tests.waiting import eventually


async def until_stopped(stopping: asyncio.Event) -> None:
    await stopping.wait()


async def returns(stopping: asyncio.Event) -> None:
    """Ends although nobody asked it to."""


async def raises(stopping: asyncio.Event) -> None:
    raise ZeroDivisionError("boom")


async def is_cancelled_by_a_library(stopping: asyncio.Event) -> None:
    """What aio-pika does when a connection is lost with a confirm pending."""
    raise asyncio.CancelledError


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        (returns, "relay ended: None"),
        (raises, r"relay ended: ZeroDivisionError\('boom'\)"),
        (is_cancelled_by_a_library, r"relay ended: CancelledError\('by a library'\)"),
    ],
)
async def test_a_loop_that_ends_by_itself_ends_everything_with_a_reason(
    broken: Callable[[asyncio.Event], Coroutine[Any, Any, None]], told: str
) -> None:
    other_ended = asyncio.Event()

    async def other(stopping: asyncio.Event) -> None:
        try:
            await stopping.wait()
        finally:
            other_ended.set()

    with pytest.raises(LoopEnded, match=told):
        await supervise([("other", other), ("relay", broken)], asyncio.Event())

    assert other_ended.is_set()


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("is_set_before", [True, False])
async def test_any_of_several_events_ends_the_wait(first: int, is_set_before: bool) -> None:
    events = [asyncio.Event(), asyncio.Event()]
    if is_set_before:
        events[first].set()
    waiting = asyncio.create_task(wait_for_any(*events))
    await asyncio.sleep(0)
    before = waiting.done()
    events[first].set()
    await asyncio.wait_for(waiting, 10)

    assert before is is_set_before
    assert not events[1 - first].is_set()


async def test_what_a_loop_raised_is_the_cause() -> None:
    with pytest.raises(LoopEnded) as ended:
        await supervise([("relay", raises)], asyncio.Event())

    assert isinstance(ended.value.__cause__, ZeroDivisionError)


async def test_loops_that_end_when_they_are_asked_to_end_well() -> None:
    stopping = asyncio.Event()
    watched = asyncio.create_task(supervise([("one", until_stopped), ("two", until_stopped)], stopping))

    stopping.set()

    await watched


async def test_every_loop_is_waited_for_when_they_are_asked_to_stop() -> None:
    stopping, may_end, still_at_it = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def finishes_what_it_has_begun(stopping: asyncio.Event) -> None:
        await stopping.wait()
        still_at_it.set()
        await may_end.wait()

    watched = asyncio.create_task(
        supervise([("one", until_stopped), ("two", finishes_what_it_has_begun)], stopping), name="supervise"
    )
    stopping.set()
    await still_at_it.wait()
    ended_early = watched.done()
    may_end.set()
    await watched

    assert not ended_early


@pytest.mark.parametrize("broken", [raises, is_cancelled_by_a_library])
async def test_a_loop_that_fails_while_stopping_is_told_all_the_same(
    broken: Callable[[asyncio.Event], Coroutine[Any, Any, None]],
) -> None:
    async def fails_when_asked(stopping: asyncio.Event) -> None:
        await stopping.wait()
        await broken(stopping)

    stopping = asyncio.Event()
    stopping.set()

    with pytest.raises(LoopEnded, match="relay ended"):
        await supervise([("relay", fails_when_asked)], stopping)


async def test_cancelling_the_supervisor_cancels_its_loops() -> None:
    started, ended = asyncio.Event(), asyncio.Event()

    async def loop(stopping: asyncio.Event) -> None:
        started.set()
        try:
            await stopping.wait()
        finally:
            ended.set()

    watched = asyncio.create_task(supervise([("loop", loop)], asyncio.Event()))
    await started.wait()
    watched.cancel()

    with pytest.raises(asyncio.CancelledError):
        await watched

    assert ended.is_set()


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that loops would have waited."""
    seconds: list[float] = []

    async def note(event: asyncio.Event, wait: float) -> bool:
        seconds.append(wait)
        return event.is_set()

    monkeypatch.setattr("order_service.loops.wait_for_event", note)
    return seconds


async def test_backoff_doubles_to_its_longest_with_jitter_below(waits: list[float]) -> None:
    backoff = Backoff(first_seconds=0.1, longest_seconds=5.0)

    for _ in range(100):
        await backoff.wait(asyncio.Event())

    ceilings = [min(5.0, 0.1 * 2**failures) for failures in range(100)]
    assert all(ceiling / 4 <= wait <= ceiling for wait, ceiling in zip(waits, ceilings, strict=True))
    assert len(set(waits)) > 90


async def test_backoff_begins_anew_once_it_worked(waits: list[float]) -> None:
    backoff = Backoff(first_seconds=0.1, longest_seconds=5.0)
    for _ in range(10):
        await backoff.wait(asyncio.Event())

    backoff.reset()
    await backoff.wait(asyncio.Event())

    assert waits[-1] <= 0.1 < waits[-2]


async def test_backoff_ends_at_once_when_asked_to_stop() -> None:
    stopping = asyncio.Event()
    stopping.set()

    async with asyncio.timeout(30):
        await Backoff(first_seconds=3600, longest_seconds=3600).wait(stopping)


def test_pace_hardly_waits_while_there_is_work() -> None:
    pace = Pace(busy_seconds=0.005, idle_seconds=0.1)

    assert [pace.after(1) for _ in range(3)] == [0.005] * 3


def test_pace_slows_down_to_idle_and_no_further() -> None:
    pace = Pace(busy_seconds=0.005, idle_seconds=0.1)

    pauses = [pace.after(0) for _ in range(7)]

    assert pauses == sorted(pauses)
    assert 0.005 < pauses[0] < 0.01
    assert pauses[-1] < 0.1
    assert all(0 < pace.after(0) <= 0.11 for _ in range(20))


def test_idle_loops_wake_together() -> None:
    now = time.monotonic()

    first, *others = [now + until_tick(seconds, lambda: now) for seconds in (0.2, 0.4, 1.0)]

    assert [math.remainder(other - first, 0.2) for other in others] == pytest.approx([0.0, 0.0], abs=1e-6)


@pytest.mark.parametrize(
    ("after_tick", "waits"), [(0.0, 1.0), (0.25, 0.75), (0.89, 0.11), (0.91, 1.09), (0.9999, 1.0001)]
)
def test_a_tick_that_is_about_to_come_is_left_out(after_tick: float, waits: float) -> None:
    now = time.monotonic()
    tick = now + until_tick(1.0, lambda: now)

    assert until_tick(1.0, lambda: tick + after_tick) == pytest.approx(waits, abs=1e-6)


def test_pace_is_quick_again_as_soon_as_there_is_work() -> None:
    pace = Pace(busy_seconds=0.005, idle_seconds=0.1)
    for _ in range(20):
        pace.after(0)

    assert pace.after(1) == 0.005


async def test_waiting_for_an_event_tells_whether_it_came() -> None:
    came, comes_not = asyncio.Event(), asyncio.Event()
    came.set()

    assert await wait_for_event(came, 10)
    assert not await wait_for_event(comes_not, 0.001)


async def test_a_periodic_loop_goes_on_while_there_is_work_and_stops_when_there_is_none() -> None:
    left = [3, 2, 1, 0, 9]

    async def work() -> int:
        return left.pop(0)

    went_well = await Periodic("timers", 1, work, Metrics()).run_once(asyncio.Event())

    assert went_well
    assert left == [9]


async def test_a_periodic_loop_stops_between_rounds_when_asked_to() -> None:
    stopping = asyncio.Event()
    rounds = 0

    async def work() -> int:
        nonlocal rounds
        rounds += 1
        stopping.set()
        return 1

    await Periodic("timers", 1, work, Metrics()).run_once(stopping)

    assert rounds == 1


@pytest.mark.parametrize("error", [ServiceUnavailable("PostgreSQL is away"), ZeroDivisionError("boom")])
async def test_a_round_that_fails_is_counted_and_tried_again(error: Exception) -> None:
    metrics, stopping = Metrics(), asyncio.Event()
    outcomes: list[Exception | int] = [error, error, 0]

    async def work() -> int:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        stopping.set()
        return outcome

    with capture_logs() as logs:
        await Periodic("timers", 0.001, work, metrics).run(stopping)

    assert outcomes == []
    assert len(logs) == 2
    assert metrics.registry.get_sample_value("order_service_loop_failures_total", {"loop": "timers"}) == 2


async def test_a_periodic_loop_waits_between_rounds_that_did_nothing() -> None:
    stopping = asyncio.Event()
    rounds = 0

    async def work() -> int:
        nonlocal rounds
        rounds += 1
        return 0

    running = asyncio.create_task(Periodic("timers", 3600, work, Metrics()).run(stopping))
    await eventually(lambda: rounds)
    stopping.set()
    await running

    assert rounds == 1
