"""Kills, cuts and hangs at every message: `make faults`, or `python -m tests.faults --help`."""

import asyncio
import contextlib
import json
import os
import random
import re
import resource
import shutil
import signal
import sys
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console

from order_service.private_servers import ServerUnavailable, private_servers
from tests.faults.campaign import AllPoints, Failed, Points, Slot, SomePoints, work_off
from tests.faults.evidence import keep
from tests.faults.lane import Lane
from tests.faults.planted import try_planted
from tests.faults.points import ALL_SERIES, Enumeration, Mode, Phase, Point, Process, Series, parse_point
from tests.faults.progress import Shown
from tests.faults.report import Report
from tests.faults.trying import Tried
from tests.integration.platform import Servers, prepare_template

_ROUGHLY: Final = {
    (Process.API, Phase.AT_WORK): 450,
    (Process.API, Phase.STARTING): 90,
    (Process.WORKER, Phase.AT_WORK): 1400,
    (Process.WORKER, Phase.STARTING): 235,
}
"""How many messages a run has, for the progress bar and for samples: points themselves are counted, not assumed."""

_INTERRUPTED: Final = 130
_SLOW_SECONDS: Final = 25.0
"""What takes longer to settle is kept to be looked at, although it broke no promise."""


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked for on the command line."""

    lanes: int
    waiting_lanes: int
    seed: int
    series: tuple[Series, ...]
    bounds: tuple[int, int | None]
    points: tuple[Point, ...]
    sample: int
    with_planted: bool
    folder: Path

    def choose(self) -> Points:
        """The points to try."""
        if self.points:
            return SomePoints(self.points)
        if self.sample:
            chance = random.Random(self.seed)
            series = [self.series[turn % len(self.series)] for turn in range(self.sample)]
            return SomePoints([Point(one, chance.randint(1, _roughly(one))) for one in series])
        first, last = self.bounds
        return AllPoints([Enumeration(one, first, last) for one in self.series])

    def expected(self) -> int:
        """Roughly how many points these are."""
        if self.points or self.sample:
            return len(self.points) or self.sample
        first, last = self.bounds
        return sum(max(0, min(_roughly(one), last or _roughly(one)) - first + 1) for one in self.series)

    def slots(self) -> list[Slot]:
        """The lanes, those for what hangs last."""
        busy = [Slot(number, waits=False) for number in range(self.lanes)]
        return busy + [Slot(self.lanes + number, waits=True) for number in range(self.waiting_lanes)]


def _roughly(series: Series) -> int:
    return _ROUGHLY[series.process, series.phase]


class _Bounds(click.ParamType[tuple[int, int | None]]):
    name = "A..B"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int | None]:
        match = re.fullmatch(r"([1-9][0-9]*)\.\.([1-9][0-9]*)?", str(value))
        if match is None:
            self.fail("write it as 1..200, or 100.. for all from the hundredth on", param, ctx)
        return int(match[1]), int(match[2]) if match[2] else None


class _PointName(click.ParamType[Point]):
    name = "POINT"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Point:
        try:
            return value if isinstance(value, Point) else parse_point(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--lanes", default=8, show_default=True, help="So many platforms side by side for kills and cuts.")
@click.option("--waiting-lanes", default=12, show_default=True, help="And so many for connections that hang.")
@click.option("--seed", type=int, help="For --sample: the same seed, the same points.")
@click.option("--only", type=click.Choice([one.value for one in Process]), multiple=True, help="Only this process.")
@click.option("--mode", type=click.Choice([one.value for one in Mode]), multiple=True, help="Only this fault.")
@click.option("--phase", type=click.Choice(["work", "start"]), help="Only at work, or only while starting.")
@click.option("--points", "bounds", type=_Bounds(), default="1..", show_default=True, help="Only these messages.")
@click.option("--point", "chosen", type=_PointName(), multiple=True, help="Only this point, such as api:cut:137.")
@click.option("--sample", default=0, help="Only so many points, drawn by lot.")
@click.option("--planted/--no-planted", default=True, show_default=True, help="Also plant bugs, to see them caught.")
@click.option("--folder", type=click.Path(path_type=Path, file_okay=False), default=Path("build/faults"))
def main(
    lanes: int,
    waiting_lanes: int,
    seed: int | None,
    only: Collection[str],
    mode: Collection[str],
    phase: str | None,
    bounds: tuple[int, int | None],
    chosen: Sequence[Point],
    sample: int,
    planted: bool,
    folder: Path,
) -> None:
    """Break the service at every message between its processes and their servers, and judge what came of it.

    A process stands behind a proxy that knows where the messages of PostgreSQL, AMQP and gRPC begin and end. Orders
    that visit every path of the saga are placed; at message 1, 2, 3 ... the process is killed before or after it is
    delivered, or the message's connection is cut or left hanging. Then everything settles, and a judge who knows
    nothing of the service's code compares what all witnesses saw. It ends with a table, and the same figures are in
    build/faults.json.

    \b
    Examples:
      python -m tests.faults --only worker --mode kill-before --points 1..200
      python -m tests.faults --no-planted --point worker-start:cut:12
      python -m tests.faults --sample 40 --seed 7

    \b
    Exit codes: 0 nothing lost, nothing wrong, all planted bugs caught; 1 otherwise;
    130 Ctrl-C, after showing what is known by then.
    """
    series = tuple(one for one in ALL_SERIES if _is_asked_for(one, only, mode, phase))
    seed = random.randrange(10**6) if seed is None else seed
    options = Options(lanes, waiting_lanes, seed, series, bounds, tuple(chosen), sample, planted, folder.absolute())
    sys.exit(_run(options, Console(width=None if sys.stdout.isatty() else 120, soft_wrap=True)))


def _is_asked_for(series: Series, only: Collection[str], mode: Collection[str], phase: str | None) -> bool:
    wanted_phase = {"work": Phase.AT_WORK, "start": Phase.STARTING}.get(phase or "", series.phase)
    is_process = not only or series.process.value in only
    return is_process and (not mode or series.mode.value in mode) and series.phase is wanted_phase


def _run(options: Options, console: Console) -> int:
    """The exit code."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    report, shown, began = Report(options.seed), Shown(console), time.monotonic()
    interrupted = False
    shutil.rmtree(options.folder, ignore_errors=True)
    options.folder.mkdir(parents=True)
    try:
        # Only processes of the service are killed: the servers live on, so that fsync would show nothing but its price.
        with private_servers(
            options.folder / "servers", environ=os.environ, durable=False, management=True, say=shown.say
        ) as found:
            if not found.rabbitmq_management_url:
                raise ServerUnavailable("set RABBITMQ_MANAGEMENT_URL: each lane makes a vhost through it")
            prepare_template(found.database_url)
            servers = Servers(found.database_url, found.rabbitmq_url, found.rabbitmq_management_url)
            asyncio.run(_campaign(options, servers, report, shown))
    except KeyboardInterrupt:
        interrupted = True
    except ServerUnavailable as error:
        shown.say(str(error))
        return 1
    report.seconds = time.monotonic() - began
    spent = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    report.cpu_seconds = sum(one.ru_utime + one.ru_stime for one in spent)
    _show(report, options, console, shown)
    if interrupted:
        shown.say("interrupted: this is what was known by then")
        return _INTERRUPTED
    return 0 if report.is_good else 1


async def _campaign(options: Options, servers: Servers, report: Report, shown: Shown) -> None:
    shown.total = options.expected()
    if options.sample:
        shown.say(f"--seed {options.seed} draws the same points again")
    with shown.running():
        tell = _teller(options, report, shown)
        await work_off(servers, options.choose(), options.slots(), options.folder / "lanes", tell)
    if options.with_planted:
        shown.say("planting bugs")
        caught = await try_planted(servers, options.folder / "planted", shown.say)
        report.planted = [(one.name, one.by) for one in caught]


def _teller(options: Options, report: Report, shown: Shown) -> Callable[[Tried | Failed, Lane | None], None]:
    def tell(tried: Tried | Failed, lane: Lane | None) -> None:
        evidence = ""
        if isinstance(tried, Failed) or not tried.kept or tried.settled_after > _SLOW_SECONDS:
            evidence = str(keep(tried, lane, options.folder, options.seed))
            slow = isinstance(tried, Tried) and tried.kept
            shown.say(f"{'slow' if slow else 'not as promised'}: {tried.point}, see {evidence}")
        report.add(tried, evidence)
        shown.step(report.lost, report.wrong)

    return tell


def _show(report: Report, options: Options, console: Console, shown: Shown) -> None:
    if report.tried:
        console.print(report.table())
    for line in report.lines():
        shown.say(line)
    path = options.folder.parent / f"{options.folder.name}.json"
    path.write_text(json.dumps(report.as_json(), indent=2) + "\n")
    shown.say(f"the same figures are in {os.path.relpath(path)}")
    with contextlib.suppress(OSError):
        shutil.rmtree(options.folder / "lanes")


if __name__ == "__main__":
    main()
