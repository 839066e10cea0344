"""Measures the service beside its limits, and shows how close it comes: see the package."""

import argparse
import asyncio
import functools
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

# Before gRPC is imported: it must not meddle with the processes that are started beside it.
os.environ |= {"GRPC_ENABLE_FORK_SUPPORT": "0", "GRPC_VERBOSITY": "NONE"}

from rich.console import Console

from order_service.private_servers import ServerUnavailable
from tests.bench.conduct import Run, conduct
from tests.bench.display import Display
from tests.bench.keeping import keep
from tests.bench.measured import SECONDS, Row
from tests.bench.quiet import end_quietly
from tests.bench.rows import all_rows, row_named
from tests.bench.servers import durable_servers
from tests.bench.table import show
from tests.bench.words import target_text
from tests.integration.platform import Servers

_BUILD = Path("build")
_LEAST_ROUNDS = 5

_HELP = """\
Each row is measured in rounds of two: its limit, then the service, on the same private servers, which write
to disk as in production (fsync on). What counts is the ratio of the two, as the median of the rounds.

  python -m tests.bench                            everything, in less than 20 minutes
  python -m tests.bench --list                     the rows, and what each compares
  python -m tests.bench --only CreateOrder         one row; may be repeated
  python -m tests.bench --rounds 1 --seconds 1     a quick look, whose figures are not worth keeping

Ctrl-C ends it with the table of what is complete. The figures go to build/bench.json, the picture to
build/bench.png and .svg, and that of a whole run (every row, five rounds or more) to docs/ as well; the logs
of each row's processes are in build/bench. DATABASE_URL, RABBITMQ_URL and RABBITMQ_MANAGEMENT_URL, if set,
name servers to use in place of private ones.

exit codes: 0 every row holds; 1 a target is missed or a row could not be measured; 2 wrong usage;
69 a server cannot be had; 130 interrupted
"""


def main() -> int:
    """The exit code."""
    rows = all_rows()
    options = _parser(rows).parse_args()
    chosen = [row for row in rows if not options.only or row in options.only]
    console = Console(width=None if sys.stdout.isatty() else 150, highlight=False, soft_wrap=True)
    if options.list:
        return _list(chosen, console)
    end_quietly()
    SECONDS.set(options.seconds)
    run = Run()
    try:
        with durable_servers(_BUILD / "servers", lambda line: console.print(line, markup=False)) as (servers, found):
            interrupted = _conduct(chosen, servers, run, options.rounds, console)
            show(run, chosen, options.rounds, found, console)
            whole = run.is_whole(rows, _LEAST_ROUNDS)
            wrote = keep(run, chosen, found, [_BUILD, Path("docs")] if whole else [_BUILD])
            console.print(f"{run.seconds:.0f} s; wrote {', '.join(map(str, wrote))}", markup=False)
    except ServerUnavailable as error:
        console.print(str(error), markup=False)
        return os.EX_UNAVAILABLE
    except KeyboardInterrupt:
        interrupted = True
    if interrupted:
        return 128 + signal.SIGINT
    return 0 if run.holds(chosen) else 1


def _conduct(rows: Sequence[Row], servers: Servers, run: Run, rounds: int | None, console: Console) -> bool:
    """Whether it was interrupted."""
    display = Display(console, rows, rounds)
    try:
        with display.following():
            asyncio.run(conduct(rows, servers, _BUILD / "bench", run, display, rounds))
    except KeyboardInterrupt:
        return True
    return False


def _list(rows: Sequence[Row], console: Console) -> int:
    for row in rows:
        console.print(f"{row.name}  (target {target_text(row)})\n  {row.service}\n  beside {row.limit}", markup=False)
    return 0


def _parser(rows: Sequence[Row]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench",
        description="Measures the service beside what PostgreSQL, RabbitMQ and gRPC can do at all.",
        epilog=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--only",
        metavar="NAME",
        action="append",
        type=functools.partial(_row, rows),
        help="one row, by its name or the beginning of it (see --list); may be repeated",
    )
    parser.add_argument(
        "--rounds", metavar="N", type=_rounds, help="rounds of each row (default: what the row asks for)"
    )
    parser.add_argument(
        "--seconds",
        metavar="S",
        type=_seconds,
        default=SECONDS.get(),
        help="for how long a side is measured in a round",
    )
    parser.add_argument("--list", action="store_true", help="say what the rows are, and measure nothing")
    return parser


def _row(rows: Sequence[Row], text: str) -> Row:
    try:
        return row_named(text, rows)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}") from None


def _rounds(text: str) -> int:
    with suppress(ValueError):
        if 1 <= int(text) <= 100:
            return int(text)
    raise argparse.ArgumentTypeError("from 1 to 100")


def _seconds(text: str) -> float:
    with suppress(ValueError):
        if 0.2 <= float(text) <= 60:
            return float(text)
    raise argparse.ArgumentTypeError("from 0.2 to 60")


if __name__ == "__main__":
    sys.exit(main())
