"""Runs the steps, one after the other, on the same servers."""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.growth.databases import Databases, DiskTooSmall
from tests.bench.growth.display import Display
from tests.bench.growth.measured import Measured
from tests.bench.growth.plan import FILL, Step
from tests.bench.growth.sizes import Sizes
from tests.integration.platform import Servers


@dataclass(slots=True)
class Run:
    """What has been measured so far."""

    measured: list[Measured] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    """Why a step has no result, by its name."""
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether every step has a result, and every bound holds."""
        return not self.failures and all(one.result.ok for one in self.measured)


async def conduct(
    steps: Sequence[Step], servers: Servers, folder: Path, sizes: Sizes, run: Run, display: Display
) -> None:
    """Fills `run`. What goes wrong with one step does not touch the others, unless tables cannot be filled: then those
    that need them are left out. When it is cancelled, `run` has the steps that were complete."""
    began = time.monotonic()
    with ExitStack() as stack:
        databases = Databases(servers, folder, stack)
        try:
            for step in steps:
                if step.needs_tables and FILL.name in run.failures:
                    run.failures[step.name] = "there are no tables to measure it with"
                else:
                    await _measure(step, databases, sizes, run, display)
        finally:
            run.seconds = time.monotonic() - began


async def _measure(step: Step, databases: Databases, sizes: Sizes, run: Run, display: Display) -> None:
    display.begun(step)
    try:
        measured = await step.run(databases, sizes, display.tell)
    except DiskTooSmall as reason:
        run.failures[step.name] = str(reason)
    except Exception as error:
        run.failures[step.name] = f"{type(error).__name__}: {error} (logs in {databases.folder})"
    else:
        run.measured.append(measured)
        display.ended(step, measured)
    if step.name in run.failures:
        display.failed(step, run.failures[step.name])
