"""Works off points on several lanes at once."""

import asyncio
import shutil
import traceback
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from tests.faults.forks import forking
from tests.faults.lane import Lane, open_lane
from tests.faults.points import Enumeration, Mode, Point, Process
from tests.faults.trying import Tried, try_point
from tests.integration.platform import Launch, Servers

POINTS_A_LANE: Final = 60
"""Then a lane is closed and another opened: what one lane has seen is looked through at each point."""

_IDLE_SECONDS: Final = 0.1


class Points(Protocol):
    """Where points come from."""

    def take(self, wanted: Callable[[Point], bool]) -> Point | None:
        """One that is wanted, if there is any now."""
        ...

    def tell(self, point: Point, reached: bool) -> None:
        """Whether the run got there."""
        ...

    def is_over(self, wanted: Callable[[Point], bool]) -> bool:
        """Whether no wanted one will come any more."""
        ...


class AllPoints:
    """Every message of some series."""

    def __init__(self, enumerations: Sequence[Enumeration]) -> None:
        self._by_series = {one.series: one for one in enumerations}

    def take(self, wanted: Callable[[Point], bool]) -> Point | None:
        found = (one.take() for one in self._of(wanted))
        return next((point for point in found if point), None)

    def tell(self, point: Point, reached: bool) -> None:
        self._by_series[point.series].tell(point.number, reached)

    def is_over(self, wanted: Callable[[Point], bool]) -> bool:
        return all(one.is_over for one in self._of(wanted))

    def _of(self, wanted: Callable[[Point], bool]) -> Iterator[Enumeration]:
        return (one for one in self._by_series.values() if wanted(Point(one.series, 1)))


class SomePoints:
    """Points that were chosen beforehand. Where a run ends before it gets there, half as far is tried."""

    def __init__(self, points: Collection[Point]) -> None:
        self._waiting = list(points)
        self._under_way: list[Point] = []

    def take(self, wanted: Callable[[Point], bool]) -> Point | None:
        point = next((point for point in self._waiting if wanted(point)), None)
        if point:
            self._waiting.remove(point)
            self._under_way.append(point)
        return point

    def tell(self, point: Point, reached: bool) -> None:
        self._under_way.remove(point)
        if not reached and point.number > 1:
            self._waiting.append(Point(point.series, point.number // 2))

    def is_over(self, wanted: Callable[[Point], bool]) -> bool:
        return not any(wanted(point) for point in (*self._waiting, *self._under_way))


@dataclass(frozen=True, slots=True)
class Slot:
    """Room for one lane at a time, and what it is for."""

    number: int
    waits: bool
    """Whether it is for connections that hang: these take long and cost little, so that more run at once."""
    process: Process | None = None
    """Only this one, if given."""

    def takes(self, point: Point) -> bool:
        """Whether a point is for it."""
        is_ours = self.process is None or point.series.process is self.process
        return is_ours and (point.series.mode is Mode.HANG) == self.waits


@dataclass(frozen=True, slots=True)
class Failed:
    """A point that could not be tried to its end."""

    point: Point
    told: str


Tell = Callable[[Tried | Failed, Lane | None], None]


async def work_off(servers: Servers, points: Points, slots: Sequence[Slot], folder: Path, tell: Tell) -> None:
    """Tries all points; `tell` gets what came of each, while its lane is still there."""
    with forking() as forks:
        async with asyncio.TaskGroup() as group:
            for slot in slots:
                group.create_task(_Worker(servers, forks.launch, points, slot, folder, tell).run())


class _Worker:
    """What one slot does: keeps a lane for as long as it is good, and tries one point after the other."""

    def __init__(self, servers: Servers, launch: Launch, points: Points, slot: Slot, folder: Path, tell: Tell) -> None:
        self._servers = servers
        self._launch = launch
        self._points = points
        self._slot = slot
        self._folder = folder
        self._tell = tell
        self._lanes = 0

    async def run(self) -> None:
        """Returns when nothing is left for this slot."""
        process = None
        while not self._points.is_over(self._slot.takes):
            point = self._take(process)
            if point is None:
                await asyncio.sleep(_IDLE_SECONDS)
                continue
            process = point.series.process
            await self._use_a_lane(point)

    def _take(self, process: Process | None) -> Point | None:
        """Of the same process, if there is one: then the lane can stay."""
        return (process and self._take_same(process)) or self._points.take(self._slot.takes)

    def _take_same(self, process: Process) -> Point | None:
        return self._points.take(lambda point: self._slot.takes(point) and point.series.process is process)

    async def _use_a_lane(self, first: Point) -> None:
        """Tries points until the lane has seen enough, another process is due, or something was wrong."""
        point: Point | None = first
        lane: Lane | None = None
        try:
            async with self._lane(first) as lane:
                while point is not None:
                    tried = await try_point(lane, point)
                    self._points.tell(point, tried.reached)
                    point = None
                    self._tell(tried, lane)
                    if tried.kept and lane.tried < POINTS_A_LANE:
                        point = self._take_same(lane.process)
        except Exception:
            if point is None:
                raise
            self._points.tell(point, reached=True)
            self._tell(Failed(point, traceback.format_exc()), lane)
        finally:
            if lane is not None:
                shutil.rmtree(lane.platform.folder, ignore_errors=True)

    def _lane(self, point: Point) -> AbstractAsyncContextManager[Lane]:
        self._lanes += 1
        folder = self._folder / f"lane-{self._slot.number}-{self._lanes}"
        folder.mkdir(parents=True)
        return open_lane(
            self._servers, point.series.process, folder, short_timeouts=self._slot.waits, launch=self._launch
        )
