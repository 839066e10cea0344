"""A few of the points of `make faults`, of every process, phase and fault; and some that once broke a promise."""

import os
import random
from collections import Counter
from pathlib import Path

import pytest

from order_service.bootstrap import known_migrations
from order_service.domain.errors import StorageUnavailable
from order_service.storage import migrations
from tests.faults.campaign import Failed, Slot, SomePoints, work_off
from tests.faults.lane import Lane, open_lane
from tests.faults.points import ALL_SERIES, Phase, Point, Process, parse_point
from tests.faults.trying import Tried, try_point
from tests.faults.wire import Act, Message, Protocol, Wire
from tests.integration.platform import Platform, Servers

SEED = int(os.environ.get("ORDER_TEST_SEED", "20261121"))
LONGEST = {
    (Process.API, Phase.AT_WORK): 350,
    (Process.API, Phase.STARTING): 80,
    (Process.WORKER, Phase.AT_WORK): 1000,
    (Process.WORKER, Phase.STARTING): 200,
}
"""So many messages a run has at least, nearly always."""

SLOTS = [Slot(number, waits, process) for number, (waits, process) in enumerate([
    (False, Process.WORKER), (True, Process.WORKER), (False, Process.API), (True, Process.API),
])]  # fmt: skip


@pytest.mark.timeout(400)
async def test_wherever_it_is_broken_no_promise_is(servers: Servers, tmp_path: Path) -> None:
    points = sample()
    told: list[Tried | Failed] = []

    def tell(tried: Tried | Failed, _: Lane | None) -> None:
        told.append(tried)

    await work_off(servers, SomePoints(points), SLOTS, tmp_path, tell)

    wrong = [f"{one.point}: {wrong_with(one)}" for one in told if wrong_with(one)]
    assert wrong == [], f"ORDER_TEST_SEED={SEED} draws the same points again"
    reached = Counter(one.point.series for one in told if isinstance(one, Tried) and one.reached)
    assert reached == Counter(point.series for point in points)


def sample() -> list[Point]:
    """One point of each series, and two more where the process is killed at work."""
    chance = random.Random(SEED)
    often = [one for one in ALL_SERIES if one.mode.kills and one.phase is Phase.AT_WORK]
    return [Point(one, chance.randint(1, LONGEST[one.process, one.phase])) for one in (*ALL_SERIES, *often * 2)]


def wrong_with(tried: Tried | Failed) -> str:
    """Empty if every promise was kept."""
    if isinstance(tried, Failed):
        return tried.told
    return "; ".join([*(f"{one.rule}: {one.told} {one.order_id}" for one in tried.violations), *tried.notes])


class MidRenewal:
    """Hangs when PostgreSQL has locked a relay's leases, and waits for the rest of the pipeline."""

    def __init__(self) -> None:
        self._connection = 0
        self._done = False

    def __call__(self, message: Message) -> Act:
        if message.name == "Parse" and b"relay_leases" in message.raw and not self._connection:
            self._connection = message.connection
        if self._done or message.connection != self._connection or message.name != "DataRow":
            return Act.PASS
        self._done = True
        return Act.HANG


@pytest.mark.timeout(400)
async def test_a_session_that_hangs_in_mid_pipeline_does_not_keep_its_locks(servers: Servers, tmp_path: Path) -> None:
    async with open_lane(servers, Process.WORKER, tmp_path, short_timeouts=True) as lane:
        tried = await try_point(lane, parse_point("worker:hang:1"), MidRenewal())

    assert tried.reached
    assert wrong_with(tried) == ""


@pytest.mark.timeout(60)
async def test_a_start_does_not_wait_for_ever_where_the_check_of_the_schema_hangs(platform: Platform) -> None:
    def hang_at_the_check(message: Message) -> Act:
        return Act.HANG if b"schema_migrations" in message.raw else Act.PASS

    async with Wire.between() as wire:
        url = await wire.through(platform.database_url, Protocol.POSTGRESQL)
        wire.arm(hang_at_the_check)

        with pytest.raises(StorageUnavailable):
            await migrations.check(url, known_migrations())

        assert wire.struck.is_set()
