"""A platform of a test's own: a database, a vhost, and the service's processes on them."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit, urlunsplit

import aio_pika
import grpc
import psycopg
from prometheus_client.parser import text_string_to_metric_families
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier

from order_service.bootstrap import known_migrations
from order_service.pb import order_pb2_grpc
from order_service.storage import migrations
from tests.integration.management import Management
from tests.waiting import eventually

TEMPLATE = "order_service_tests_template"


@dataclass(frozen=True, slots=True)
class Servers:
    """The PostgreSQL and the RabbitMQ of this run."""

    database_url: str
    rabbitmq_url: str
    management_url: str


class Child(Protocol):
    """A process that was started, as `subprocess.Popen` shows it."""

    @property
    def pid(self) -> int: ...
    @property
    def returncode(self) -> int | None: ...
    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, sig: int) -> None: ...
    def terminate(self) -> None: ...
    def kill(self) -> None: ...


Launch = Callable[[Sequence[str], Mapping[str, str], Path], Child]
"""Starts `order-service ARGUMENTS` in an environment, with a log, and does not wait."""


@dataclass(slots=True)
class Running:
    """One process of the service: `order-service COMMAND`."""

    command: str
    process: Child
    log: Path
    ports: Mapping[str, int]

    def kill(self) -> None:
        """SIGKILL: it gets no chance to tidy up."""
        self.process.kill()
        self.process.wait()

    def stop(self, seconds: float = 60.0) -> int:
        """SIGTERM; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)

    def check_runs(self) -> None:
        """Raises AssertionError with its log if it has ended."""
        if (code := self.process.poll()) is not None:
            raise AssertionError(f"the {self.command} ended with {code}:\n{self.log.read_text()}")

    def log_lines(self, event: str = "") -> list[dict[str, Any]]:
        """What it has logged so far; of one event only, if given."""
        # The last line may be half written.
        whole = self.log.read_text().rpartition("\n")[0].splitlines()
        lines = [json.loads(line) for line in whole if line.startswith("{")]
        return [line for line in lines if not event or line["event"] == event]

    def metric(self, name: str, **labels: str) -> float:
        """The value of a sample of its /metrics; 0 if there is none. Fails if it does not answer."""
        status, text = http_get(self.ports["metrics"], "/metrics")
        assert status == 200, f"/metrics answers {status}"
        families = text_string_to_metric_families(text)
        samples = (sample for family in families for sample in family.samples)
        return sum(one.value for one in samples if one.name == name and labels.items() <= one.labels.items())


def basic_environment() -> dict[str, str]:
    """What of this process's environment is the service's too."""
    return {key: value for key, value in os.environ.items() if key in ("PATH", "HOME", "LANG")}


def launch_afresh(arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> Child:
    """Starts the installed command."""
    with log.open("wb") as output:
        return subprocess.Popen(
            [str(Path(sys.executable).with_name("order-service")), *arguments],
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )


@dataclass(slots=True)
class Platform:
    """A database and a vhost, and what runs on them. Everything stops and goes at the end of `make`."""

    database_url: str
    rabbitmq_url: str
    management: "Management"
    folder: Path
    launch: Launch = launch_afresh
    started: list[Running] = field(default_factory=list)

    @classmethod
    @contextmanager
    def make(cls, servers: Servers, folder: Path, launch: Launch = launch_afresh) -> Iterator["Platform"]:
        name = f"t_{uuid.uuid4().hex[:12]}"
        with ExitStack() as stack:
            database_url = stack.enter_context(_database(servers.database_url, name))
            management = Management(servers.management_url, name)
            rabbitmq_url = stack.enter_context(management.vhost(servers.rabbitmq_url))
            platform = cls(database_url, rabbitmq_url, management, folder, launch)
            stack.callback(platform._stop_all)
            yield platform

    def environment(self, **changes: str) -> dict[str, str]:
        """What the processes are started with."""
        return basic_environment() | {
            "DATABASE_URL": self.database_url,
            "RABBITMQ_URL": self.rabbitmq_url,
            "GRPC_HOST": "127.0.0.1",
            "GRPC_PORT": "0",
            "METRICS_HOST": "127.0.0.1",
            "METRICS_PORT": "0",
            **changes,
        }

    def spawn(self, *arguments: str, **changes: str) -> Running:
        """Starts `order-service ARGUMENTS` and does not wait."""
        log = self.folder / f"{len(self.started)}-{arguments[0]}.log"
        running = Running(arguments[0], self.launch(arguments, self.environment(**changes), log), log, {})
        self.started.append(running)
        return running

    async def start(self, *arguments: str, **changes: str) -> Running:
        """Starts `order-service ARGUMENTS` and waits until it can serve."""
        running = self.spawn(*arguments, **changes)
        await self.wait_until_ready(running)
        return running

    async def start_both(self, **changes: str) -> tuple[Running, Running]:
        """An api and a worker, which start at the same time."""
        api, worker = self.spawn("api", **changes), self.spawn("worker", **changes)
        await self.wait_until_ready(api)
        await self.wait_until_ready(worker)
        return api, worker

    async def wait_until_ready(self, running: Running, seconds: float = 60.0) -> None:
        """Waits until /readyz says so and the ports are known; fails with the log if the process ends."""
        await eventually(lambda: self.is_ready(running), seconds)

    def is_ready(self, running: Running) -> bool:
        """Whether /readyz says so and all ports are known; fails with the log if the process has ended."""
        return self.tells_ports(running) and http_status(running.ports["metrics"], "/readyz") == 200

    def tells_ports(self, running: Running) -> bool:
        """Whether its log tells all its ports, which may be a moment after it is ready; fails as `find_ports` does."""
        ports = self.find_ports(running)
        return "metrics" in ports and ("grpc" in ports or running.command != "api")

    def find_ports(self, running: Running) -> Mapping[str, int]:
        """The ports that a process has logged so far; fails with the log if it has ended."""
        running.check_runs()
        running.ports = _ports(running.log_lines())
        return running.ports

    async def start_api(self, *arguments: str, **changes: str) -> Running:
        """The gRPC server; its port is `ports["grpc"]`. `arguments` may be `--processes NUMBER`."""
        return await self.start("api", *arguments, **changes)

    async def start_worker(self, *arguments: str, **changes: str) -> Running:
        """A worker; `arguments` may be `--only ROLE`."""
        return await self.start("worker", *arguments, **changes)

    async def query(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Rows of the test's database."""
        async with await psycopg.AsyncConnection.connect(self.database_url, autocommit=True) as connection:
            cursor = await connection.execute(query.encode(), parameters)
            return await cursor.fetchall() if cursor.description else []

    @asynccontextmanager
    async def broker(self) -> AsyncIterator[aio_pika.abc.AbstractChannel]:
        """A peer's channel on the test's vhost."""
        async with await aio_pika.connect(self.rabbitmq_url) as connection, connection.channel() as channel:
            yield channel

    def _stop_all(self) -> None:
        for running in self.started:
            if running.process.poll() is None:
                running.process.send_signal(signal.SIGCONT)
                running.process.terminate()
        for running in self.started:
            try:
                running.process.wait(10)
            except subprocess.TimeoutExpired:
                running.kill()


@asynccontextmanager
async def gateway(api: Running) -> AsyncIterator["order_pb2_grpc.OrderServiceAsyncStub"]:
    """A stub on a channel of its own."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{api.ports['grpc']}") as channel:
        yield order_pb2_grpc.OrderServiceStub(channel)


def prepare_template(database_url: str) -> None:
    """A database with the schema, from which each test's is cloned."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(SQL("drop database if exists {}").format(Identifier(TEMPLATE)))
        connection.execute(SQL("create database {}").format(Identifier(TEMPLATE)))
    url = _with_database(database_url, TEMPLATE)
    asyncio.run(migrations.migrate(url, known_migrations(), lambda _: None))


def http_get(port: int, path: str) -> tuple[int, str]:
    """Status and text of an answer of this machine; (0, "") if there is none."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, ""


def http_status(port: int, path: str) -> int:
    """The status of an answer of this machine."""
    return http_get(port, path)[0]


def _ports(lines: list[dict[str, Any]]) -> dict[str, int]:
    ports = {}
    for line in lines:
        if line["event"] == "process.started" and "metrics_port" in line:
            ports["metrics"] = line["metrics_port"]
        if line["event"] == "api.listening":
            ports["grpc"] = line["port"]
    return ports


@contextmanager
def _database(admin_url: str, name: str) -> Iterator[str]:
    with psycopg.connect(admin_url, autocommit=True) as connection:
        connection.execute(SQL("create database {} template {}").format(Identifier(name), Identifier(TEMPLATE)))
        yield _with_database(admin_url, name)
        connection.execute(SQL("drop database {} with (force)").format(Identifier(name)))


def _with_database(url: str, name: str) -> str:
    """The URL with another database in it."""
    parts = urlsplit(url)
    if parts.scheme:
        return urlunsplit(parts._replace(path=f"/{name}"))
    return make_conninfo(url, dbname=name)
