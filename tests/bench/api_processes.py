"""What the rows of the api share: the api as its users start it, the bare server, and the load on either."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psycopg
from psycopg.sql import SQL, Identifier

from order_service.private_servers.ports import reserved_ports
from tests.bench.measured import SECONDS, Figure
from tests.bench.processes import postgresql_pid, rabbitmq_pid, run_to_end, serving, watch_arguments
from tests.bench.stopwatch import figure
from tests.integration.platform import Platform, Running, http_status
from tests.waiting import eventually

WARM_UP_SECONDS: Final = 1.0
_SERVICE: Final = "/order.OrderService"
_DATA: Final = (
    "orders",
    "order_items",
    "create_requests",
    "sagas",
    "order_events",
    "event_confirmations",
    "outbox",
    "inbox",
    "parked_messages",
)


@dataclass(frozen=True, slots=True)
class Load:
    """What is asked, how often at once, and how many operations one answer counts for."""

    method: str
    requests: Path
    in_flight: int = 64
    channels: int = 4
    operations: int = 1


@dataclass(frozen=True, slots=True)
class Site:
    """A platform, and the ids of its servers' processes."""

    platform: Platform
    watched: Mapping[str, int]

    @classmethod
    async def of(cls, platform: Platform) -> "Site":
        """Those of a platform."""
        servers = {
            "postgresql": postgresql_pid(platform.database_url),
            "rabbitmq": await rabbitmq_pid(platform.management),
        }
        return cls(platform, servers)

    async def loaded(self, load: Load, port: int, **watched: int) -> Figure:
        """A server under load, after it has warmed up; `watched` names it, and whatever else its work costs."""
        seconds = SECONDS.get()
        command = [sys.executable, "-m", "tests.bench.load", "--target", f"127.0.0.1:{port}"]
        command += ["--method", f"{_SERVICE}/{load.method}", "--requests", str(load.requests.absolute())]
        command += ["--in-flight", str(load.in_flight), "--channels", str(load.channels)]
        command += ["--warm-up", str(min(WARM_UP_SECONDS, seconds)), "--seconds", str(seconds)]
        command += watch_arguments({**watched, **self.watched})
        log = self.platform.folder / "load.log"
        measured = (await run_to_end("the load generator", command, log, seconds + 60)).result()
        done = measured["calls"] * load.operations
        latencies = {name: measured[name] for name in ("p50", "p99")}
        return figure(done / measured["seconds"], done, measured["cpu_seconds"], done=done, **latencies)

    async def loaded_when_empty(self, load: Load, port: int, **watched: int) -> Figure:
        """The same, beginning with empty tables."""
        self.empty()
        return await self.loaded(load, port, **watched)

    async def creating(self, load: Load, port: int, **watched: int) -> Figure:
        """An api that stores orders. Raises ValueError if fewer are stored than it has acknowledged."""
        measured = await self.loaded_when_empty(load, port, **watched)
        self.check_stored(int(measured.more["done"]))
        return measured

    def check_stored(self, orders: int) -> None:
        """Raises ValueError unless there are so many orders at least, each with its event to be sent."""
        with psycopg.connect(self.platform.database_url) as connection:
            for table in ("orders", "outbox"):
                query = SQL("select count(*) from {}").format(Identifier("order_service", table))
                row = connection.execute(query).fetchone()
                if row is None or row[0] < orders:
                    raise ValueError(f"{orders} orders were acknowledged, and {table} has {row}")

    def empty(self) -> None:
        """The tables as they are on the first day, and PostgreSQL with nothing left to write: each side begins so."""
        with psycopg.connect(self.platform.database_url, autocommit=True) as connection:
            tables = SQL(", ").join(SQL("order_service.{}").format(Identifier(table)) for table in _DATA)
            connection.execute(SQL("truncate {}").format(tables))
            connection.execute("checkpoint")

    def settle(self) -> None:
        """Statistics and the visibility map as they are once tables have been left alone, and nothing to write."""
        with psycopg.connect(self.platform.database_url, autocommit=True) as connection:
            connection.execute("vacuum analyze")
            connection.execute("checkpoint")


@asynccontextmanager
async def bare_server(folder: Path) -> AsyncIterator[tuple[int, int]]:
    """The port and the process id of a bare grpc.aio server."""
    async with serving("the bare server", "tests.bench.bare_server", folder / "bare.log") as (child, port):
        yield port, child.process.pid


@dataclass(frozen=True, slots=True)
class Api:
    """An api that serves."""

    running: Running
    port: int
    metrics_port: int

    @property
    def pid(self) -> int:
        """Its process."""
        return self.running.process.pid


@asynccontextmanager
async def api(platform: Platform, **changes: str) -> AsyncIterator[Api]:
    """`order-service api` with its defaults, but for `changes`. Its ports are given: it may be told to log nothing."""
    with reserved_ports(2) as (port, metrics_port):
        ports = {"GRPC_PORT": str(port), "METRICS_PORT": str(metrics_port)}
        running = platform.spawn("api", **ports, **changes)
        await eventually(_ready(running, metrics_port), 30)
        yield Api(running, port, metrics_port)
        await asyncio.to_thread(running.stop)


def _ready(running: Running, metrics_port: int) -> Callable[[], bool]:
    def is_ready() -> bool:
        running.check_runs()
        return http_status(metrics_port, "/readyz") == 200

    return is_ready
