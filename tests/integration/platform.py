"""A platform of a test's own: a database, a vhost, the service's processes, and peers written from the contract."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

import aio_pika
import grpc
import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier

from order_service.bootstrap import known_migrations
from order_service.pb import order_pb2_grpc
from order_service.storage import migrations
from tests.waiting import eventually

TEMPLATE = "order_service_tests_template"


@dataclass(frozen=True, slots=True)
class Servers:
    """The PostgreSQL and the RabbitMQ of this run."""

    database_url: str
    rabbitmq_url: str
    management_url: str


@dataclass(slots=True)
class Running:
    """One process of the service."""

    process: "subprocess.Popen[bytes]"
    log: Path
    ports: Mapping[str, int]

    def kill(self) -> None:
        """SIGKILL: it gets no chance to tidy up."""
        self.process.kill()
        self.process.wait()

    def stop(self, seconds: float = 30.0) -> int:
        """SIGTERM; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)

    def log_lines(self) -> list[dict[str, Any]]:
        """What it has logged so far."""
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]


@dataclass(slots=True)
class Platform:
    """A database and a vhost, and what runs on them. Everything stops and goes at the end of `make`."""

    database_url: str
    rabbitmq_url: str
    management: "Management"
    folder: Path
    started: list[Running] = field(default_factory=list)

    @classmethod
    @contextmanager
    def make(cls, servers: Servers, folder: Path) -> Iterator["Platform"]:
        name = f"t_{uuid.uuid4().hex[:12]}"
        with ExitStack() as stack:
            database_url = stack.enter_context(_database(servers.database_url, name))
            management = Management(servers.management_url, name)
            rabbitmq_url = stack.enter_context(management.vhost(servers.rabbitmq_url))
            platform = cls(database_url, rabbitmq_url, management, folder)
            stack.callback(platform._stop_all)
            yield platform

    def environment(self, **changes: str) -> dict[str, str]:
        """What the processes are started with."""
        known = {key: value for key, value in os.environ.items() if key in ("PATH", "HOME", "LANG")}
        return known | {
            "DATABASE_URL": self.database_url,
            "RABBITMQ_URL": self.rabbitmq_url,
            "GRPC_HOST": "127.0.0.1",
            "GRPC_PORT": "0",
            "METRICS_HOST": "127.0.0.1",
            "METRICS_PORT": "0",
            **changes,
        }

    async def start(self, *arguments: str, **changes: str) -> Running:
        """Starts `order-service ARGUMENTS` and waits until it can serve."""
        log = self.folder / f"{len(self.started)}-{arguments[0]}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(  # noqa: ASYNC220 - it is started, not waited for
                [str(Path(sys.executable).with_name("order-service")), *arguments],
                env=self.environment(**changes),
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        running = Running(process, log, {})
        self.started.append(running)
        await self.wait_until_ready(running)
        return running

    async def wait_until_ready(self, running: Running, seconds: float = 30.0) -> None:
        """Waits until /readyz says so; fails with the log if the process ends."""

        def is_ready() -> bool:
            if running.process.poll() is not None:
                raise AssertionError(f"ended with {running.process.returncode}:\n{running.log.read_text()}")
            running.ports = _ports(running.log_lines())
            return "metrics" in running.ports and http_status(running.ports["metrics"], "/readyz") == 200

        await eventually(is_ready, seconds)

    async def start_api(self, **changes: str) -> Running:
        """The gRPC server; its port is `ports["grpc"]`."""
        return await self.start("api", **changes)

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


Answer = Callable[[dict[str, Any]], dict[str, Any] | None]


class StockService:
    """A product service written from the contract alone: it takes OrderCreated, and answers with what `answer` makes of
    it, or not at all for None."""

    def __init__(self, channel: aio_pika.abc.AbstractChannel, answer: Answer) -> None:
        self._channel = channel
        self._answer = answer
        self.asked: list[dict[str, Any]] = []
        self.released: list[dict[str, Any]] = []

    @classmethod
    @asynccontextmanager
    async def running(cls, platform: Platform, answer: Answer) -> AsyncIterator["StockService"]:
        async with platform.broker() as channel:
            service = cls(channel, answer)
            await service._bind()
            yield service

    async def _bind(self) -> None:
        created = await self._channel.declare_exchange("orders_exchange", "fanout", durable=True)
        events = await self._channel.declare_exchange("order.events", "topic", durable=True)
        self._replies = await self._channel.declare_exchange("stock_update_exchange", "fanout", durable=True)
        taken = await self._channel.declare_queue("product_service_order_created_queue", durable=True)
        await taken.bind(created)
        releases = await self._channel.declare_queue("product_service_release_queue", durable=True)
        await releases.bind(events, "order.stock_release_requested")
        await taken.consume(self._on_created)
        await releases.consume(self._on_release)

    async def _on_created(self, message: aio_pika.abc.AbstractIncomingMessage) -> None:
        body = json.loads(message.body)
        self.asked.append(body)
        answer = self._answer(body)
        if answer is not None:
            await self.reply(answer)
        await message.ack()

    async def _on_release(self, message: aio_pika.abc.AbstractIncomingMessage) -> None:
        self.released.append(json.loads(message.body))
        await message.ack()

    async def reply(self, answer: dict[str, Any]) -> None:
        """Publishes a StockUpdateResult."""
        await self.send(json.dumps(answer).encode())

    async def send(self, body: bytes, **properties: Any) -> None:
        """Publishes bytes as they are."""
        await self._replies.publish(aio_pika.Message(body, **properties), "", mandatory=False)


def in_stock(created: dict[str, Any]) -> dict[str, Any]:
    """Answers every order with a success."""
    return {"order_id": created["order_id"], "success": True}


def out_of_stock(created: dict[str, Any]) -> dict[str, Any]:
    """Answers every order with a failure."""
    return {"order_id": created["order_id"], "success": False, "reason": "none left"}


def no_answer(created: dict[str, Any]) -> None:
    """Answers nothing."""


class Recorder:
    """Takes every event of `order.events`."""

    def __init__(self) -> None:
        self.messages: list[aio_pika.abc.AbstractIncomingMessage] = []

    @classmethod
    @asynccontextmanager
    async def running(cls, platform: Platform) -> AsyncIterator["Recorder"]:
        recorder = cls()
        async with platform.broker() as channel:
            events = await channel.declare_exchange("order.events", "topic", durable=True)
            queue = await channel.declare_queue("recorder", durable=True)
            await queue.bind(events, "#")
            await queue.consume(recorder._on_event)
            yield recorder

    async def _on_event(self, message: aio_pika.abc.AbstractIncomingMessage) -> None:
        self.messages.append(message)
        await message.ack()

    def of_order(self, order_id: str) -> list[dict[str, Any]]:
        """The bodies of one order's events, as they came, each with its `type` and `message_id`."""
        bodies = [
            json.loads(message.body) | {"type": message.type, "message_id": message.message_id}
            for message in self.messages
        ]
        return [body for body in bodies if body["order_id"] == order_id]


class Management:
    """RabbitMQ's HTTP API, for what a test does to the broker."""

    def __init__(self, url: str, vhost: str) -> None:
        parts = urlsplit(url)
        self._base = urlunsplit((parts.scheme, f"{parts.hostname}:{parts.port}", "", "", ""))
        passwords = urllib.request.HTTPPasswordMgrWithPriorAuth()
        passwords.add_password(None, self._base, parts.username or "", parts.password or "", is_authenticated=True)
        self._opener = urllib.request.build_opener(urllib.request.HTTPBasicAuthHandler(passwords))
        self.name = vhost

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """One call; the decoded answer, or None."""
        request = urllib.request.Request(
            f"{self._base}/api/{path}",
            method=method,
            data=json.dumps(body).encode() if body is not None else None,
            headers={"content-type": "application/json"},
        )
        with self._opener.open(request, timeout=20) as answer:
            content = answer.read()
        return json.loads(content) if content else None

    @contextmanager
    def vhost(self, rabbitmq_url: str) -> Iterator[str]:
        """Makes the vhost, and removes it at the end; gives the AMQP URL for it."""
        user = urlsplit(rabbitmq_url).username or "guest"
        self.call("PUT", f"vhosts/{self.name}", {})
        self.call("PUT", f"permissions/{self.name}/{quote(user)}", {"configure": ".*", "write": ".*", "read": ".*"})
        try:
            yield urlunsplit(urlsplit(rabbitmq_url)._replace(path=f"/{self.name}"))
        finally:
            self.call("DELETE", f"vhosts/{self.name}")

    def delete_queue(self, queue: str) -> None:
        """What an operator may do by mistake."""
        self.call("DELETE", f"queues/{self.name}/{quote(queue)}")

    def queue(self, queue: str) -> dict[str, Any] | None:
        """What the broker knows of a queue, or None if there is none."""
        try:
            found: dict[str, Any] = self.call("GET", f"queues/{self.name}/{quote(queue)}")
        except urllib.error.HTTPError:
            return None
        return found

    def close_connections(self) -> int:
        """Cuts every connection of the vhost; how many."""
        found = self.call("GET", f"vhosts/{self.name}/connections")
        for connection in found:
            self.call("DELETE", f"connections/{quote(connection['name'])}")
        return len(found)


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
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
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
        if line["event"] == "process.started":
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
