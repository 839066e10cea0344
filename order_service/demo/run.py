"""One demo from start to end: servers, schema, processes, orders, report."""

import asyncio
import fcntl
import json
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from order_service import bootstrap
from order_service.demo.addresses import lines_to_try
from order_service.demo.display import Display
from order_service.demo.failure import DemoFailed
from order_service.demo.observing import observe
from order_service.demo.own_database import database_of_its_own, run_id
from order_service.demo.processes import Needs, Processes, started
from order_service.demo.report import Report
from order_service.demo.scenario import plan
from order_service.private_servers import Servers, private_servers
from order_service.storage import migrations

_STOCK_SECONDS: Final = 6
_STOCK_SECONDS_BY_HAND: Final = 20
_LATE_BY_SECONDS: Final = 4
_PATIENCE_SECONDS: Final = 30.0
_SLOWEST_RATE: Final = 50
_CHECK_SECONDS: Final = 0.2
_SERVERS: Final = ("postgresql", "rabbitmq")


@dataclass(frozen=True, slots=True)
class Options:
    """What to do: how many orders (0: none), and whether to go on running after that. Logs go to `folder`."""

    orders: int
    seed: int
    folder: Path
    keep_running: bool

    @property
    def stock_seconds(self) -> int:
        """How long an order waits for its stock: short, unless somebody tries things by hand."""
        return _STOCK_SECONDS_BY_HAND if self.keep_running else _STOCK_SECONDS

    @property
    def logs(self) -> Path:
        """A folder for each of the two ways to run, so that they can go on side by side."""
        return self.folder / ("up" if self.keep_running else "demo")


def run(options: Options, environ: Mapping[str, str], display: Display, tell: Callable[[Report], None]) -> bool:
    """Whether every promise was kept; `tell` gets the report as soon as there is one. With `keep_running` it ends only
    by KeyboardInterrupt. Call it in the main thread. Raises DemoFailed, ServerUnavailable, OrderServiceError."""
    now = datetime.now(UTC)
    run_name = run_id(now, secrets.token_hex(2))
    kept = True
    with ExitStack() as stack:
        logs = stack.enter_context(_logs(options.logs))
        servers = stack.enter_context(
            private_servers(
                options.folder / "servers", environ=environ, management=options.keep_running, say=display.say
            )
        )
        database_url = stack.enter_context(_database(servers, run_name, now, display))
        asyncio.run(migrations.migrate(database_url, bootstrap.known_migrations(), lambda name: None))
        needs = _needs(options, database_url, servers, logs)
        processes = stack.enter_context(started(needs))
        display.say(f"api, worker and stock service are running; their logs are in {options.logs}")
        if options.orders:
            report = _report(options, run_name, needs, processes, servers, display)
            kept = not report.problems
            (options.folder / "demo.json").write_text(json.dumps(report.as_json(), indent=2) + "\n")
            tell(report)
        if options.keep_running:
            _keep_running(needs, processes, servers, display)
    return kept


def _needs(options: Options, database_url: str, servers: Servers, logs: Path) -> Needs:
    return Needs(
        database_url=database_url,
        rabbitmq_url=servers.rabbitmq_url,
        stock_timeout=f"{options.stock_seconds}s",
        late_after=f"{options.stock_seconds + _LATE_BY_SECONDS}s",
        logs=logs,
        usual_ports=options.keep_running,
    )


def _report(
    options: Options, run_name: str, needs: Needs, processes: Processes, servers: Servers, display: Display
) -> Report:
    scenario = plan(run_name, options.orders, options.seed)
    patience = options.stock_seconds + _LATE_BY_SECONDS + _PATIENCE_SECONDS + options.orders / _SLOWEST_RATE
    display.say(scenario.told)
    with display.running(options.orders) as show:
        figures, seconds = asyncio.run(observe(needs, processes, scenario, patience, show))
    names = [f"{name} (private)" if name in servers.private else f"{name} (given)" for name in _SERVERS]
    return Report(figures, seconds, names)


def _keep_running(needs: Needs, processes: Processes, servers: Servers, display: Display) -> None:
    for line in lines_to_try(needs, processes, servers):
        display.say(line)
    while True:
        processes.check()
        time.sleep(_CHECK_SECONDS)


@contextmanager
def _database(servers: Servers, run_name: str, now: datetime, display: Display) -> Iterator[str]:
    """One that holds nothing but this run's orders, if that can be."""
    if "rabbitmq" not in servers.private:
        display.say("RABBITMQ_URL is used as it is: what else takes orders or replies there leaves fewer for this run")
    if "postgresql" in servers.private:
        yield servers.database_url
        return
    with database_of_its_own(servers.database_url, run_name, now, display.say) as url:
        yield url


@contextmanager
def _logs(folder: Path) -> Iterator[Path]:
    """The folder for logs, which is ours alone within the block. Raises DemoFailed."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise DemoFailed(f"{folder} is no folder for logs: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise DemoFailed(f"another run keeps its logs in {folder}: wait for it, or give --folder") from error
    else:
        yield folder.absolute()
    finally:
        os.close(lock)
