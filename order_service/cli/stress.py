"""`order-service stress`: load for a running order service, and what it answered."""

import asyncio
import os
import secrets
import shutil
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from order_service import config
from order_service.cli.exits import FAILED, INTERRUPTED, OK, fail, told
from order_service.cli.output import note, print_json, printable
from order_service.cli.stress_arguments import (
    Amount,
    picture_argument,
    prefix_argument,
    product_arguments,
    target_argument,
)

if TYPE_CHECKING:
    from order_service.stress.plan import Plan
    from order_service.stress.report import Report

_MOST_IN_A_BATCH: Final = 1_000
_MOST_ITEMS: Final = 1_000
_MOST_IN_FLIGHT: Final = 10_000
_IN_FLIGHT: Final = 16
_IN_FLIGHT_AT_A_RATE: Final = 1_000
_MOST_BYTES: Final = 4 * 2**20
_PRODUCTS: Final = ("tea", "coffee", "cocoa", "sugar", "milk", "honey", "bread", "butter", "jam", "salt")
_BY_SIGNAL: Final = 128


@click.command()
@click.option(
    "--target",
    metavar="HOST:PORT",
    callback=target_argument,
    help="Address of the gRPC server.  [default: GRPC_PORT of this machine]",
)
@click.option(
    "--num", metavar="N", default=1_000, show_default=True, type=click.IntRange(1), help="How many orders, in all."
)
@click.option(
    "--batch",
    metavar="B",
    default=1,
    show_default=True,
    type=click.IntRange(1, _MOST_IN_A_BATCH),
    help="Orders in each RPC: 1 sends CreateOrder, more BatchCreateOrders.",
)
@click.option(
    "--concurrency",
    metavar="C",
    type=click.IntRange(1, _MOST_IN_FLIGHT),
    help=f"RPCs in flight, at most.  [default: {_IN_FLIGHT}; with --rate {_IN_FLIGHT_AT_A_RATE:,}]",
)
@click.option(
    "--rate",
    metavar="R",
    type=Amount(10_000_000),
    help="Orders a second, sent when they are due whatever the answers.  [default: as fast as they are answered]",
)
@click.option(
    "--connections",
    metavar="N",
    default=1,
    show_default=True,
    type=click.IntRange(1, 1_000),
    help="Connections that take turns.",
)
@click.option(
    "--items",
    metavar="N",
    default=2,
    show_default=True,
    type=click.IntRange(1, _MOST_ITEMS),
    help="Items of each order.",
)
@click.option(
    "--product",
    "products",
    metavar="ID",
    multiple=True,
    callback=product_arguments,
    help="Order these; may be given repeatedly.",
)
@click.option(
    "--user",
    metavar="PREFIX",
    default="stress",
    show_default=True,
    callback=prefix_argument,
    help="What the user ids begin with.",
)
@click.option(
    "--timeout",
    metavar="SECONDS",
    default=10.0,
    show_default=True,
    type=Amount(3_600),
    help="Seconds that an RPC may take.",
)
@click.option("--wait/--no-wait", default=True, show_default=True, help="Ask for the outcomes afterwards.")
@click.option(
    "--seconds",
    metavar="SECONDS",
    default=60.0,
    show_default=True,
    type=Amount(86_400),
    help="How long to wait for the outcomes.",
)
@click.option(
    "--sample",
    metavar="N",
    default=10_000,
    show_default=True,
    type=click.IntRange(100),
    help="Orders asked for theirs, at most.",
)
@click.option("--seed", metavar="N", default=1, show_default=True, help="The same seed, the same orders.")
@click.option(
    "--plot", type=click.Path(dir_okay=False, path_type=Path), callback=picture_argument, help="Draw a .png or .svg."
)
@click.option("--json", "as_json", is_flag=True, help="The report for programs.")
@told
def stress(
    target: str | None,
    num: int,
    batch: int,
    concurrency: int | None,
    rate: float | None,
    wait: bool,
    seconds: float,
    products: tuple[str, ...],
    plot: Path | None,
    as_json: bool,
    **as_given: Any,
) -> None:
    """Send orders to a running order service, and measure what it answers.

    It creates real orders, which take real stock: use a test environment. Their users begin with --user, and the id of
    the run comes next. Every order is sent once; what fails is counted and not repeated. With --rate a latency counts
    from the time when the RPC was due, so that a server that stalls cannot hide it.

    Ends by itself; Ctrl-C prints what there is (exit code 130; SIGTERM: 143). Exit code 1 if an order failed, or was
    accepted and is not there. Progress goes to standard error.

    \b
    Examples:
      order-service stress --num 10000 --concurrency 32
      order-service stress --num 60000 --rate 1000 --plot load.png
      order-service stress --num 100000 --batch 500 --json
    """
    from order_service.stress.plan import Plan

    if batch > num:
        raise click.UsageError(f"--batch {batch} is more than --num {num}")
    plan = Plan(
        target=target or f"127.0.0.1:{config.read(os.environ, frozenset()).grpc_port}",
        run_id=secrets.token_hex(4),
        num=num,
        batch=batch,
        concurrency=concurrency or (_IN_FLIGHT if rate is None else _IN_FLIGHT_AT_A_RATE),
        rate=rate,
        wait=seconds if wait else None,
        products=products or tuple(f"in-stock-{name}" for name in _PRODUCTS),
        **as_given,
    )
    _check_size(plan)
    report = _run(plan)
    if as_json:
        print_json(report.as_json())
    else:
        for line in report.lines(shutil.get_terminal_size().columns):
            click.echo(printable(line))
    if plot is not None:
        _draw(report, plot)
    sys.exit(_code(report))


def _run(plan: "Plan") -> "Report":
    import uvloop

    from order_service.stress.display import shown_on
    from order_service.stress.run import run

    pace = f"{plan.rate:,g} orders/s" if plan.rate else f"{plan.concurrency:,} RPCs in flight"
    note(f"run {plan.run_id}: {plan.num:,} orders to {plan.target}, {plan.batch:,} in an RPC, {pace}")
    try:
        with shown_on(sys.stderr) as shown:
            return uvloop.run(run(plan, shown))
    except asyncio.CancelledError:
        sys.exit(INTERRUPTED)


def _check_size(plan: "Plan") -> None:
    """gRPC's servers take no message above 4 MB unless they are told to."""
    from order_service.stress.orders import Orders

    if (size := Orders(plan).single(0).ByteSize() * plan.batch) > _MOST_BYTES:
        raise click.UsageError(
            f"--batch {plan.batch} with --items {plan.items} makes RPCs of {size / 2**20:.1f} MB; servers take 4 MB"
        )


def _draw(report: "Report", file: Path) -> None:
    from order_service.stress.plot import draw

    try:
        draw(report, file)
    except OSError as error:
        fail(f"the picture cannot be written to {file}: {error.strerror}", FAILED)
    note(f"drawn in {file}")


def _code(report: "Report") -> int:
    if report.interrupted:
        return _BY_SIGNAL + signal.Signals[report.interrupted]
    return FAILED if report.problems else OK
