"""What one of several processes tells the one that speaks for it."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import suppress

import pytest

from order_service.bootstrap.reports import ReportingHeartbeat, Reports
from order_service.telemetry.readiness import Readiness


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        with suppress(OSError):
            os.close(end)


async def test_each_change_is_reported_at_once(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    readiness = Readiness()
    heartbeat = ReportingHeartbeat(writing, readiness, asyncio.Event())
    heartbeat.beat()
    readiness.report("postgresql", "does not answer")
    readiness.report("postgresql", "does not answer")
    readiness.report("postgresql")

    assert os.read(reading, 1_000) == b'{}\n{"postgresql":"does not answer"}\n{}\n'


async def test_the_last_report_counts_and_who_could_serve_is_remembered(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    reports = Reports()
    before = (dict(reports.unmet), reports.has_served)
    os.write(writing, b'{}\n{"postgresql":"does not answer"}\n')
    os.close(writing)
    await reports.read(reading)

    assert before == ({"started": "starting"}, False)
    assert (reports.unmet, reports.has_served) == ({"postgresql": "does not answer"}, True)
    assert not reports.wrong()


async def test_a_reader_who_stands_still_holds_up_nobody(pipe: tuple[int, int]) -> None:
    _, writing = pipe
    stopping = asyncio.Event()
    heartbeat = ReportingHeartbeat(writing, Readiness(), stopping)
    for _ in range(100_000):
        heartbeat.beat()

    assert not heartbeat.wrong()
    assert not stopping.is_set()


async def test_who_is_left_alone_is_asked_to_stop(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    stopping = asyncio.Event()
    heartbeat = ReportingHeartbeat(writing, Readiness(), stopping)
    os.close(reading)
    heartbeat.beat()

    assert stopping.is_set()
