"""The processes of the platform: api, worker and stock service, as children that end with this process."""

import json
import os
import signal
import socket
import sys
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from order_service.demo.failure import DemoFailed
from order_service.private_servers.child_process import ChildProcess, Program, running
from order_service.private_servers.ports import LOOPBACK

_START_SECONDS: Final = 60.0
_FAREWELL: Final = ((signal.SIGTERM, 10.0),)
_DEATH_SIGNAL: Final = signal.SIGKILL
"""A worker may die at any instant, and then it is gone before its servers are."""

_PASSED_ON: Final = ("PATH", "HOME", "LANG", "LOG_LEVEL", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_TRACES_SAMPLER_ARG")
USUAL_PORTS: Final = {"grpc": 50054, "api": 9004, "worker": 9005}
"""Those that a person expects, for a platform that keeps running; others are used where they are taken."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What the processes are started with: where the servers are, how long an order waits for its stock, when the
    products called late are answered, and where logs go."""

    database_url: str
    rabbitmq_url: str
    stock_timeout: str
    late_after: str
    logs: Path
    usual_ports: bool


@dataclass(frozen=True, slots=True)
class Processes:
    """The running platform: ports of its api, and of the metrics of api and worker; and its stock service's books."""

    children: tuple[ChildProcess, ...]
    grpc_port: int
    api_metrics_port: int
    worker_metrics_port: int
    stock_log: Path

    def check(self) -> None:
        """Raises DemoFailed if one of them has ended."""
        for child in self.children:
            if child.has_ended():
                raise DemoFailed(f"{child.failure('ended')} (log: {child.program.log})")


@contextmanager
def started(needs: Needs) -> Iterator[Processes]:
    """Within the block they run and can serve. Raises DemoFailed, ServerUnavailable."""
    command = [str(Path(sys.executable).with_name("order-service"))]
    ports = {name: _free(port) if needs.usual_ports else 0 for name, port in USUAL_PORTS.items()}
    stock = _program("stock", [sys.executable, "-m", "order_service.demo.stock_service"], needs, {})
    worker = _program("worker", [*command, "worker"], needs, {"METRICS_PORT": str(ports["worker"])})
    api_ports = {"GRPC_PORT": str(ports["grpc"]), "METRICS_PORT": str(ports["api"])}
    api = _program("api", [*command, "api"], needs, api_ports)
    with ExitStack() as stack:
        children = tuple(stack.enter_context(running(program)) for program in (stock, worker, api))
        stocked, working, serving = children
        stocked.wait_until(lambda: bool(_logged(stocked, "stock.listening")), _START_SECONDS)
        for child in (working, serving):
            child.wait_until(_ready(child), _START_SECONDS)
        yield Processes(
            children,
            grpc_port=_logged(serving, "api.listening")["port"],
            api_metrics_port=_metrics_port(serving),
            worker_metrics_port=_metrics_port(working),
            stock_log=stock.log,
        )


def lines_of(log: Path) -> Iterator[Mapping[str, Any]]:
    """The entries of a process's log, whole lines only."""
    for line in log.read_text(errors="replace").splitlines(keepends=True):
        if line.startswith("{") and line.endswith("}\n"):
            yield json.loads(line)


def _program(name: str, command: list[str], needs: Needs, ports: Mapping[str, str]) -> Program:
    environ = {variable: os.environ[variable] for variable in _PASSED_ON if variable in os.environ}
    environ |= {
        "DATABASE_URL": needs.database_url,
        "RABBITMQ_URL": needs.rabbitmq_url,
        "SAGA_STOCK_TIMEOUT": needs.stock_timeout,
        "STOCK_LATE_AFTER": needs.late_after,
        "GRPC_HOST": LOOPBACK,
        "METRICS_HOST": LOOPBACK,
        **ports,
    }
    log = needs.logs / f"{name}.log"
    log.write_bytes(b"")
    return Program(name, tuple(command), environ, log, _DEATH_SIGNAL, _FAREWELL, folder=Path.cwd())


def _free(port: int) -> int:
    """The port if nobody listens on it, else 0: any that is free."""
    with socket.socket() as attempt:
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            attempt.bind((LOOPBACK, port))
        except OSError:
            return 0
    return port


def _ready(child: ChildProcess) -> Callable[[], bool]:
    def ready() -> bool:
        if not _logged(child, "process.started"):
            return False
        try:
            with urllib.request.urlopen(f"http://{LOOPBACK}:{_metrics_port(child)}/readyz", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    return ready


def _metrics_port(child: ChildProcess) -> int:
    return int(_logged(child, "process.started")["metrics_port"])


def _logged(child: ChildProcess, event: str) -> Mapping[str, Any]:
    """The first entry of that name; empty if there is none yet."""
    return next((line for line in lines_of(child.program.log) if line.get("event") == event), {})
