"""Runs what holds out, and shows what was measured: see the package."""

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from order_service.private_servers import ServerUnavailable, private_servers
from tests.endurance import backlog, poison, stops, stuck_sagas
from tests.endurance.measured import Result, Tell
from tests.integration.platform import Platform, Servers, prepare_template

RUNS: Mapping[str, Callable[[Platform, float, Tell], Coroutine[Any, Any, Result]]] = {
    "backlog": backlog.drains_evenly,
    "stuck-sagas": stuck_sagas.do_not_slow_fresh_ones,
    "poison": poison.is_parked_once_and_holds_nobody_up,
    "stops": stops.lose_nothing,
}
_FIGURES = Path("build/endurance.json")
_LINE_SECONDS = 5.0


def main() -> int:
    """The exit code: 1 if a bound was missed, 69 if a server cannot be had."""
    options = _parser().parse_args()
    console = Console(width=None if sys.stdout.isatty() else 140, highlight=False, soft_wrap=True)
    say = console.print
    try:
        with private_servers(
            Path("build/servers"), environ=os.environ, durable=True, management=True, say=say
        ) as given:
            if not given.rabbitmq_management_url:
                raise ServerUnavailable("set RABBITMQ_MANAGEMENT_URL: each run makes a vhost of its own")
            prepare_template(given.database_url)
            servers = Servers(given.database_url, given.rabbitmq_url, given.rabbitmq_management_url)
            results = [_run(name, servers, options.scale, console) for name in options.only or RUNS]
    except ServerUnavailable as error:
        say(str(error))
        return os.EX_UNAVAILABLE
    _show(results, console)
    return 0 if all(result.ok for result in results) else 1


def _run(name: str, servers: Servers, scale: float, console: Console) -> Result:
    with (
        tempfile.TemporaryDirectory() as folder,
        Platform.make(servers, Path(folder)) as platform,
        _telling(name, console) as tell,
    ):
        return asyncio.run(RUNS[name](platform, scale, tell))


@contextmanager
def _telling(name: str, console: Console) -> Iterator[Tell]:
    """A bar on a terminal, elsewhere a line now and then."""
    if not console.is_terminal:
        yield _lines(name, console)
        return
    columns = (
        TextColumn("{task.description:<12}"),
        BarColumn(),
        TextColumn("{task.fields[doing]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(name, total=1.0, doing="")

        def tell(share: float, doing: str) -> None:
            progress.update(task, completed=share)
            if doing:
                progress.update(task, doing=doing)

        yield tell
        tell(1.0, "done")


def _lines(name: str, console: Console) -> Tell:
    began = time.monotonic()
    next_at, last = began, ""

    def tell(share: float, doing: str) -> None:
        nonlocal next_at, last
        last = doing or last
        if time.monotonic() >= next_at:
            next_at = time.monotonic() + _LINE_SECONDS
            console.print(f"{name:<12} {time.monotonic() - began:5.0f} s  {share:4.0%}  {last}")

    return tell


def _show(results: Sequence[Result], console: Console) -> None:
    """The table, and the same for machines."""
    table = Table("run", "what", "measured", "bound", "")
    for result in results:
        for name, figure in result.figures.items():
            table.add_row(result.name, name, f"{figure:,}", "", "")
        for bound in result.bounds:
            table.add_row(result.name, bound.what, f"{bound.measured:,}", bound.limit, "ok" if bound.ok else "MISSED")
        table.add_section()
    console.print(table)
    _FIGURES.parent.mkdir(exist_ok=True)
    _FIGURES.write_text(json.dumps([entry for result in results for entry in result.as_json()], indent=2) + "\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.endurance", description="how the service holds out")
    parser.add_argument("--only", metavar="NAME", action="append", choices=RUNS, help=f"one of {', '.join(RUNS)}")
    parser.add_argument("--scale", metavar="0.01..1", type=_scale, default=1.0, help="a share of the full size")
    return parser


def _scale(text: str) -> float:
    scale = float(text)
    if not 0.01 <= scale <= 1:
        raise argparse.ArgumentTypeError("from 0.01 to 1")
    return scale


if __name__ == "__main__":
    sys.exit(main())
