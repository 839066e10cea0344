"""The processes that are fed garbage, and everything that must hold for them whatever they are fed."""

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import psycopg
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from google.rpc.status_pb2 import Status

from order_service.pb import order_pb2, order_pb2_grpc
from tests.fuzz.wire import UNANSWERED, Wire
from tests.integration.calls import an_item, an_order
from tests.integration.platform import Platform, Running, http_status

VICTIM_USER = "victim"
HEALTHY_USER = "healthy"
VICTIMS = 24

LEAKS = re.compile(
    r"Traceback|Error\(|Error:|Exception|psycopg|asyncpg|sqlstate|\bselect \b|insert into|relation \"|\.py\b"
    r"|site-packages|order_service[./]|object at 0x|NoneType|google\.protobuf|\bline \d+|_pb2|deserializ|<class",
    re.IGNORECASE,
)
"""What an error's text would hold if it told of the inside."""

_LOST = {"consumer.unavailable", "relay.unavailable", "probes.request_failed", "process.crashed", "rpc.failed"}
"""What must not be logged: bad input never costs a connection, and nothing about it is unforeseen."""

_EXPECTED_ERRORS = {"consumer.parked", "parked.left_to_operator", "api.server_ended"}


_OF_GRPC_CORE = re.compile(rb"[EWI]\d{4} .*\.cc:\d+\]")
"""gRPC's core writes about broken HTTP/2 to standard error in a form of its own."""

_OF_GRPC = re.compile(r"grpc\._cython\.cygrpc|asyncio")
_NO_TEXT = re.compile(r"ExecuteBatchError|UnicodeDecodeError|Invalid encoding on|codec can't decode")
"""gRPC logs so what it could not send to a caller who has gone away, metadata that is no text, and a path that is none:
it ends its server over that, and the service revives it."""


@dataclass(slots=True)
class LogReader:
    """Reads what a process has logged since the last look."""

    running: Running
    read: int = 0

    def assert_nothing_wrong(self) -> None:
        with self.running.log.open("rb") as log:
            log.seek(self.read)
            new = log.read().rpartition(b"\n")[0]
        self.read += len(new) + 1 if new else 0
        for line in new.splitlines():
            _assert_harmless(line)


def _assert_harmless(line: bytes) -> None:
    if b'"rpc.handled"' in line or not line.strip() or _OF_GRPC_CORE.match(line):
        return
    assert line.startswith(b"{"), f"no log line but {line[:300]!r}"
    entry = json.loads(line)
    of_grpc = _OF_GRPC.fullmatch(entry.get("logger", "")) and _NO_TEXT.search(
        f"{entry.get('exception.type')} {entry['event']}"
    )
    expected = entry["event"] in _EXPECTED_ERRORS or of_grpc
    severe = entry["level"] == "critical" or (entry["level"] == "error" and not expected)
    told = line[:3_000].decode(errors="replace")
    assert not severe, f"it logged {told}"
    assert entry["event"] not in _LOST, f"it logged {told}"


@dataclass(slots=True)
class UnderTest:
    """An api and a worker, with the pids they began with."""

    platform: Platform
    api: Running
    worker: Running
    channel: grpc.Channel
    wire: Wire
    database: "psycopg.Connection[tuple[Any, ...]]"
    victims: list[str] = field(default_factory=list)
    logs: list[LogReader] = field(default_factory=list)
    requests: int = 0
    healthy: int = 0
    sentinels: int = 0

    @classmethod
    @contextmanager
    def of(cls, platform: Platform, api: Running, worker: Running) -> Iterator["UnderTest"]:
        """With orders that exist, and no outcome yet, for the garbage to refer to."""
        target = f"127.0.0.1:{api.ports['grpc']}"
        unlimited = ("grpc.max_send_message_length", "grpc.max_receive_message_length")
        options = (*((name, -1) for name in unlimited), ("grpc.max_metadata_size", 1_000_000))
        with (
            Wire.open(platform) as wire,
            grpc.insecure_channel(target, options=options) as channel,
            psycopg.connect(platform.database_url, autocommit=True) as database,
        ):
            made = cls(platform, api, worker, channel, wire, database)
            made.logs = [LogReader(api), LogReader(worker)]
            made.victims = [made._place(VICTIM_USER, UNANSWERED) for _ in range(VICTIMS)]
            yield made

    @property
    def processes(self) -> dict[str, Running]:
        return {"api": self.api, "worker": self.worker}

    def _place(self, user: str, product: str) -> str:
        stub = order_pb2_grpc.OrderServiceStub(self.channel)
        answer: order_pb2.CreateOrderResponse = stub.CreateOrder(
            an_order(user, an_item(product)), timeout=30, wait_for_ready=True
        )
        return answer.order.id

    def place_healthy(self) -> None:
        """An order that is right: it must still work."""
        self._place(HEALTHY_USER, "tea")
        self.healthy += 1

    def assert_unharmed(self) -> None:
        """After each example."""
        for name, running in self.processes.items():
            assert running.process.poll() is None, f"the {name} ended with {running.process.returncode}"
        for log in self.logs:
            log.assert_nothing_wrong()

    def assert_well(self) -> None:
        """Now and then: what costs more to look at."""
        self.assert_unharmed()
        for name, running in self.processes.items():
            status = http_status(running.ports["metrics"], "/healthz")
            assert status == 200, f"/healthz of the {name} answers {status}"
        self.place_healthy()

    def wait_for_healthy(self, seconds: float = 60) -> None:
        """Every healthy order is confirmed."""
        query = "select count(*) from order_service.orders where user_id = %s and status = 'CONFIRMED'"
        wait_until(
            lambda: self.rows(query, HEALTHY_USER) == [(self.healthy,)], seconds, "a healthy order is not confirmed"
        )

    def rows(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        return self.database.execute(query.encode(), parameters).fetchall()

    def resident_kib(self) -> dict[str, int]:
        """The memory that each process has now (RSS)."""
        return {name: _resident_kib(running.process.pid) for name, running in self.processes.items()}


def _resident_kib(pid: int) -> int:
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1])


def wait_until(condition: Callable[[], bool], seconds: float, failure: str) -> None:
    """Fails with `failure` when the time is up."""
    ends = time.monotonic() + seconds
    pause = 0.002
    while not condition():
        assert time.monotonic() < ends, f"{failure} within {seconds} s"
        time.sleep(pause)
        pause = min(0.05, pause * 1.5)


@dataclass(frozen=True, slots=True)
class Answer:
    """How a call ended: its code, text and details."""

    code: grpc.StatusCode
    text: str
    details: bytes

    @classmethod
    def of(cls, call: Callable[[], Any]) -> "Answer":
        """Of a call that is made now."""
        try:
            call()
        except grpc.RpcError as error:
            # Every error of a call is one of these; grpc's types do not say so.
            ended: Any = error
            details = dict(ended.trailing_metadata() or ()).get("grpc-status-details-bin", b"")
            return cls(ended.code(), ended.details() or "", details)
        return cls(grpc.StatusCode.OK, "", b"")

    def assert_told_right(self, allowed: set[grpc.StatusCode], of_ours: bool) -> None:
        """The code is one of the contract's for bad input, and nothing tells of the inside. What this service answers
        itself has details; gRPC's own answers have none."""
        assert self.code in allowed, f"answered {self.code.name}: {self.text[:300]}"
        leak = LEAKS.search(self.text) or LEAKS.search(self.details.decode(errors="replace"))
        assert not leak, f"{leak[0]!r} leaks: {self.text[:300]}"
        if of_ours and self.code is not grpc.StatusCode.OK:
            self._assert_details()

    def _assert_details(self) -> None:
        status, info, bad = Status.FromString(self.details), ErrorInfo(), BadRequest()
        kinds = [kind for detail in status.details for kind in (info, bad) if detail.Unpack(kind)]
        assert info in kinds, f"{self.code.name} without ErrorInfo"
        assert info.domain == "order-service"
        if self.code is grpc.StatusCode.INVALID_ARGUMENT:
            assert bad.field_violations, f"INVALID_ARGUMENT ({info.reason}) without BadRequest"
