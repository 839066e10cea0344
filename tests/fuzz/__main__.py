"""`python -m tests.fuzz --minutes N --seed S`: garbage for so long, on private servers; a table, build/fuzz.json, and
exit code 1 if anything was found."""

import argparse
import asyncio
import json
import logging
import os
import random
import shutil
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from order_service.private_servers import ServerUnavailable, private_servers
from tests.fuzz.session import Report, Session
from tests.fuzz.under_test import UnderTest
from tests.integration.platform import Platform, Servers, prepare_template

BUILD = Path("build")
SETTINGS = {"SAGA_PAYMENT": "on", "SAGA_STOCK_TIMEOUT": "1h", "SAGA_PAYMENT_TIMEOUT": "1h", "REPLY_RETRY_FOR": "5s"}
"""No victim comes to its end by itself, and replies for orders that never were are given up soon."""

_console = Console(soft_wrap=True, highlight=False)


def main() -> int:
    """The exit code."""
    options = _options()
    say = _console.print
    # They tell of each connection that the broker ends, with a trace: here that is what is wanted.
    for library in ("aio_pika", "aiormq"):
        logging.getLogger(library).setLevel(logging.CRITICAL)
    say(f"seed {options.seed}: make fuzz SEED={options.seed} repeats it")
    try:
        with (
            private_servers(
                BUILD / "servers", environ={**os.environ}, durable=False, management=True, say=say
            ) as given,
            tempfile.TemporaryDirectory() as folder,
        ):
            if not given.rabbitmq_management_url:
                say("set RABBITMQ_MANAGEMENT_URL: this makes a vhost of its own")
                return 2
            servers = Servers(given.database_url, given.rabbitmq_url, given.rabbitmq_management_url)
            prepare_template(servers.database_url)
            report = _fuzz(servers, Path(folder), options)
    except ServerUnavailable as error:
        say(str(error))
        return 3
    _tell(report)
    return 1 if report.findings else 0


def _fuzz(servers: Servers, folder: Path, options: argparse.Namespace) -> Report:
    with Platform.make(servers, folder) as platform:
        api, worker = asyncio.run(platform.start_both(**SETTINGS))
        with UnderTest.of(platform, api, worker) as under_test:
            report = Session(under_test, options.seed, options.minutes * 60, options.examples, _plain).run()
        if report.findings:
            shutil.copytree(folder, BUILD / "fuzz-logs", dirs_exist_ok=True)
            _plain(f"the logs of both processes are in {BUILD / 'fuzz-logs'}")
        return report


def _plain(text: str) -> None:
    _console.print(text, markup=False)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0, help="how long (default 5)")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="what the examples are made from")
    parser.add_argument("--examples", type=int, default=40, help="examples of each kind in a round (default 40)")
    return parser.parse_args()


def _tell(report: Report) -> None:
    table = Table("what was sent", "examples", "found")
    found = {finding.target for finding in report.findings}
    for name, count in sorted(report.examples.items()):
        table.add_row(name, f"{count:,}", "YES" if name in found else "-")
    _console.print(table)
    _plain(
        f"{report.requests:,} requests and messages in {report.seconds:.0f} s and {report.rounds} rounds;"
        f" {report.replies:,} messages consumed, {report.parked:,} parked now,"
        f" {report.refused_by_the_broker:,} refused by the broker; {report.healthy_orders:,} healthy orders in between"
    )
    for process, warm in report.warm_kib.items():
        _plain(
            f"memory of the {process}: at most {warm:,} KiB warm, at least {report.end_kib[process]:,} KiB in the end,"
            f" {report.kib_per_1000_requests[process]:+.1f} KiB for 1,000 requests and messages"
        )
    for finding in report.findings:
        _plain(f"\nFOUND in {finding.target}, seed {finding.seed}:\n{finding.told}")
    _plain(f"{len(report.findings)} findings, seed {report.seed}")
    BUILD.mkdir(exist_ok=True)
    (BUILD / "fuzz.json").write_text(json.dumps(report.as_json(), indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
