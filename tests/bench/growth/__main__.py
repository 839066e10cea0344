"""Measures how cost grows, and shows it beside its bounds: see the package."""

import argparse
import asyncio
import os
import shutil
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

# Before gRPC is imported: it must not meddle with the processes that are started beside it.
os.environ |= {"GRPC_ENABLE_FORK_SUPPORT": "0", "GRPC_VERBOSITY": "NONE"}

from rich.console import Console

from order_service.private_servers import ServerUnavailable
from tests.bench.growth.conduct import Run, conduct
from tests.bench.growth.databases import DiskTooSmall, check_disk
from tests.bench.growth.display import Display
from tests.bench.growth.keeping import keep, show
from tests.bench.growth.plan import FILL, STEPS, Step, plan
from tests.bench.growth.sizes import Sizes
from tests.bench.quiet import end_quietly
from tests.bench.servers import durable_servers
from tests.integration.platform import Servers

_BUILD = Path("build")
_LEAST_SCALE = 0.0001

_HELP = """\
Whatever can be a comparison is one: both sides stand on the same private servers, which write to disk as in
production (fsync on), are measured in turn, and the ratio is taken round by round.

  python -m tests.bench.growth                           everything, with 5 million orders, in less than an hour
  python -m tests.bench.growth --scale 0.004             with 20,000 orders: a look at each, in a few minutes
  python -m tests.bench.growth --only start --only idle  some of it; what needs no full tables fills none
  python -m tests.bench.growth --list                    what is measured, and how long it takes

--scale is a share of the full size: 5 million orders in the tables, 500,000 that pass through while memory is
watched, backlogs of 10,000 and 40,000. At a tenth and above rounds are as many and as long as at full size.
The full tables and what is written beside them need 18 GB of disk; where they do not fit the run does not begin.

Ctrl-C ends it with the table of what is complete. The figures go to build/bench-growth.json, the picture to
build/growth.png and .svg, and that of a whole run at full size to docs/ as well; the logs of the processes are
in build/bench-growth. DATABASE_URL, RABBITMQ_URL and RABBITMQ_MANAGEMENT_URL, if set, name servers to use in
place of private ones.

exit codes: 0 every bound holds; 1 one is missed or something could not be measured; 2 wrong usage;
69 a server cannot be had or the disk is too small; 130 interrupted
"""


def main() -> int:
    """The exit code."""
    options = _parser().parse_args()
    steps = plan(options.only)
    console = Console(width=None if sys.stdout.isatty() else 150, highlight=False, soft_wrap=True)
    if options.list:
        return _list(steps, options.scale, console)
    end_quietly()
    run, interrupted = Run(), False
    try:
        with durable_servers(_BUILD / "servers", lambda line: console.print(line, markup=False)) as (servers, found):
            sizes = Sizes.at(options.scale)
            if FILL in steps:
                check_disk(servers.database_url, sizes.filled)
            interrupted = _conduct(steps, servers, options.scale, run, console)
            show(run, found, console)
            whole = options.scale == 1 and len(run.measured) == len(STEPS) + 1
            wrote = keep(run, options.scale, found, [_BUILD, Path("docs")] if whole else [_BUILD])
            console.print(f"{run.seconds:.0f} s; wrote {', '.join(map(str, wrote))}", markup=False)
    except (ServerUnavailable, DiskTooSmall) as error:
        console.print(str(error), markup=False)
        return os.EX_UNAVAILABLE
    except KeyboardInterrupt:
        interrupted = True
    if interrupted:
        return 128 + signal.SIGINT
    return 0 if run.ok else 1


def _conduct(steps: Sequence[Step], servers: Servers, scale: float, run: Run, console: Console) -> bool:
    """Whether it was interrupted."""
    folder = _BUILD / "bench-growth"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    display = Display(console, steps, scale)
    try:
        with display.following():
            asyncio.run(conduct(steps, servers, folder, Sizes.at(scale), run, display))
    except KeyboardInterrupt:
        return True
    return False


def _list(steps: Sequence[Step], scale: float, console: Console) -> int:
    for step in steps:
        minutes, seconds = divmod(round(step.takes(scale)), 60)
        console.print(f"{step.name}  (about {minutes}:{seconds:02})\n  {step.says}", markup=False)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.growth",
        description="Measures how cost grows: with orders in the tables, processes, orders carried, and time.",
        epilog=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = [step.name for step in STEPS]
    parser.add_argument(
        "--only",
        metavar="NAME",
        action="append",
        choices=names,
        default=[],
        help=f"one of {', '.join(names)}; may be repeated",
    )
    parser.add_argument(
        "--scale", metavar=f"{_LEAST_SCALE}..1", type=_scale, default=1.0, help="a share of the full size"
    )
    parser.add_argument("--list", action="store_true", help="say what is measured, and measure nothing")
    return parser


def _scale(text: str) -> float:
    with suppress(ValueError):
        if _LEAST_SCALE <= float(text) <= 1:
            return float(text)
    raise argparse.ArgumentTypeError(f"from {_LEAST_SCALE} to 1")


if __name__ == "__main__":
    sys.exit(main())
