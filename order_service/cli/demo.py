"""`order-service demo`: the whole service at work on this machine."""

import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Final

import click

from order_service.cli.exits import FAILED, OK, UNAVAILABLE, fail, told
from order_service.cli.output import note, print_json

if TYPE_CHECKING:
    from order_service.demo.report import Report

_ORDERS: Final = 500
_BY_SIGNAL: Final = 128


@click.command()
@click.option("--orders", type=click.IntRange(0), help="How many.  [default: 500; with --keep-running 0]")
@click.option("--seed", default=1, show_default=True, help="The same seed, the same orders.")
@click.option("--keep-running", is_flag=True, help="Keep everything running until Ctrl-C, and say what to try.")
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    default="build",
    show_default=True,
    help="For logs, private servers and demo.json.",
)
@click.option("--json", "as_json", is_flag=True, help="The report for programs; progress goes to standard error.")
@told
def demo(orders: int | None, seed: int, keep_running: bool, folder: Path, as_json: bool) -> None:
    """Run orders through real servers and count what becomes of them.

    Starts PostgreSQL and RabbitMQ (or uses those of DATABASE_URL and RABBITMQ_URL), an api, a worker and a stand-in for
    the stock service. Exit code 1 if a promise was not kept: the report says which. The same figures are in
    FOLDER/demo.json.

    \b
    Example:
      order-service demo --orders 2000 --seed 7
    """
    from order_service.demo.display import display_on
    from order_service.demo.run import Options, run
    from order_service.private_servers import ServerUnavailable

    display = display_on(as_json)

    def tell(report: "Report") -> None:
        if as_json:
            print_json(report.as_json())
        else:
            display.show(report)

    asked = _AskedToEnd()
    options = Options((0 if keep_running else _ORDERS) if orders is None else orders, seed, folder, keep_running)
    try:
        kept = run(options, os.environ, display, tell)
    except ServerUnavailable as error:
        fail(str(error), UNAVAILABLE)
    except KeyboardInterrupt:
        note("everything has stopped")
        sys.exit(OK if keep_running and asked.by is signal.SIGINT else _BY_SIGNAL + asked.by)
    sys.exit(OK if kept else FAILED)


class _AskedToEnd:
    """SIGTERM and SIGHUP end a demo as Ctrl-C does; `by` is the signal that came."""

    def __init__(self) -> None:
        self.by = signal.SIGINT
        # Whoever started us in the background may have had SIGINT ignored.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._pass_on)

    def _pass_on(self, number: int, _frame: FrameType | None) -> None:
        self.by = signal.Signals(number)
        signal.raise_signal(signal.SIGINT)
