"""Plants one bug after another, and asks the judge."""

import asyncio
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.faults.judge import Violation
from tests.faults.planted.bugs import BUGS
from tests.faults.planted.planting import Planted, Scenario, planted
from tests.faults.planted.stage import set_up
from tests.integration.platform import Servers

LANES = 2
"""So many scenarios are played at a time."""
PATIENCE = 8.0
"""With nothing planted nothing is lost, however slow the machine."""


@dataclass(frozen=True, slots=True)
class Caught:
    """A bug and what the judge said of it first; `by` is empty if it survived."""

    name: str
    by: str


class NotSilent(Exception):
    """The judge complains although nothing is planted: the service, the scenario or the judge is wrong."""


async def try_planted(
    servers: Servers,
    folder: Path,
    progress: Callable[[str], None],
    *,
    bugs: Sequence[Planted] = BUGS,
    lanes: int = LANES,
) -> list[Caught]:
    """Plays each scenario with nothing planted and then with each of its bugs. `folder` gets copies and logs.
    Raises NotSilent, and what hinders a scenario from being played."""
    numbers, room = itertools.count(1), asyncio.Semaphore(lanes)

    async def play_in_turn(scenario: Scenario, bug: Planted | None) -> list[Violation]:
        async with room:
            return await play(servers, folder / str(next(numbers)), scenario, bug)

    async def try_one(bug: Planted) -> Caught:
        violations = await play_in_turn(bug.scenario, bug)
        caught = Caught(bug.name, f"{violations[0].rule}: {violations[0].told}" if violations else "")
        progress(f"{caught.by or 'SURVIVED'} <- {bug.name}")
        return caught

    async def stay_silent(scenario: Scenario) -> None:
        violations = await play_in_turn(scenario, None)
        if violations:
            raise NotSilent(f"{scenario.__name__}: {violations}")
        progress(f"nothing planted, nothing said: {scenario.__name__}")

    async with asyncio.TaskGroup() as tasks:
        for scenario in dict.fromkeys(bug.scenario for bug in bugs):
            tasks.create_task(stay_silent(scenario))
        tried = [tasks.create_task(try_one(bug)) for bug in bugs]
    return [one.result() for one in tried]


async def play(servers: Servers, folder: Path, scenario: Scenario, bug: Planted | None) -> list[Violation]:
    """The verdict on one scenario with one bug, or with none. Raises AssertionError if a scenario with none is not
    played to its end; with a bug, that may well be."""
    async with set_up(servers, planted(bug, folder), folder / "logs") as stage:
        if bug is None:
            stage.patience = PATIENCE
        try:
            await scenario(stage)
        except AssertionError:
            if bug is None:
                raise
        if stage.cast is None:
            await stage.enter_cast()
        return await stage.verdict()
