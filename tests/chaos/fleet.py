"""The service's processes, each with network links of its own, started again when they end, as an orchestrator does."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from order_service.private_servers.child_process import Program
from order_service.private_servers.ports import LOOPBACK, reserved_ports
from tests.chaos.broker_cluster import BrokerCluster, url_of
from tests.chaos.child import Child
from tests.chaos.links import Link, link_to
from tests.chaos.postgres_pair import USER, PostgresPair

APIS: Final = 2
WORKERS: Final = 3
STOCK_SECONDS: Final = 10
"""How long an order waits for its stock: short, so that deadlines pass in the midst of faults."""

_PASSED_ON: Final = ("PATH", "HOME", "LANG", "PYTHONPATH")
_RESTART_SECONDS: Final = 0.5
_FAREWELL: Final = ((signal.SIGTERM, 5.0),)
_FAKETIME: Final = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")


@dataclass(slots=True)
class Member:
    """One process of the service, and its ways to the servers."""

    name: str
    child: Child
    to_postgresql: tuple[Link, ...]
    to_rabbitmq: tuple[Link, ...]
    grpc_port: int
    clock: Path | None
    """A file with the offset of its clock, where that can be set."""
    expected_ends: int = 0
    own_ends: list[str] = field(default_factory=list)
    """How it ended although nobody killed it."""

    async def kill(self) -> None:
        """SIGKILL; it is started again by its keeper."""
        self.expected_ends += 1
        self.child.send(signal.SIGKILL)
        await self.child.has_ended(5)

    def set_clock(self, offset: str) -> None:
        """Lets its clock jump to so far from the true time, such as "+3h" or "+0"."""
        if self.clock is None:
            raise RuntimeError(f"the clock of {self.name} cannot be set")
        self.clock.write_text(f"{offset}\n")

    async def keep(self) -> None:
        """Starts it again whenever it has ended."""
        while True:
            await asyncio.sleep(_RESTART_SECONDS)
            if self.child.is_alive:
                continue
            if self.expected_ends:
                self.expected_ends -= 1
            else:
                self.own_ends.append(f"{self.name} ended with {self.child.exit_code()}: see {self.child.program.log}")
            self.child.start()


@dataclass(frozen=True, slots=True)
class Fleet:
    """All processes of the service: apis first."""

    members: tuple[Member, ...]

    @property
    def targets(self) -> list[str]:
        """Where the apis take calls."""
        return [f"{LOOPBACK}:{member.grpc_port}" for member in self.members[:APIS]]

    @property
    def workers(self) -> tuple[Member, ...]:
        """The workers alone."""
        return self.members[APIS:]

    @property
    def own_ends(self) -> list[str]:
        """Every end that nobody asked for."""
        return [told for member in self.members for told in member.own_ends]


@asynccontextmanager
async def fleet(folder: Path, pair: PostgresPair, cluster: BrokerCluster) -> AsyncIterator[Fleet]:
    """The processes run within the block; the schema must be there."""
    async with AsyncExitStack() as stack:
        members = [
            await _member(stack, folder, name, pair, cluster)
            for name in [*(f"api-{n}" for n in range(APIS)), *(f"worker-{n}" for n in range(WORKERS))]
        ]
        keepers = [asyncio.create_task(member.keep()) for member in members]
        for member in members:
            member.child.start()
        try:
            yield Fleet(tuple(members))
        finally:
            for keeper in keepers:
                keeper.cancel()
            await asyncio.gather(*keepers, return_exceptions=True)
            await asyncio.gather(*(member.child.end(signal.SIGTERM, 8.0) for member in members))


def database_url(pair: PostgresPair, ports: tuple[int, ...]) -> str:
    """One URL for both nodes: whichever takes writes is used."""
    hosts = ",".join(f"{LOOPBACK}:{port}" for port in ports)
    return f"postgresql://{USER}:{pair.primary.password}@{hosts}/{USER}?target_session_attrs=read-write"


async def _member(stack: AsyncExitStack, folder: Path, name: str, pair: PostgresPair, cluster: BrokerCluster) -> Member:
    to_postgresql = tuple([await stack.enter_async_context(link_to(node.port)) for node in pair.nodes])
    to_rabbitmq = tuple([await stack.enter_async_context(link_to(node.node.port)) for node in cluster.nodes])
    (port,) = stack.enter_context(reserved_ports(1))
    clock = _clock(folder, name)
    environ = {
        **{key: value for key, value in os.environ.items() if key in _PASSED_ON},
        "DATABASE_URL": database_url(pair, tuple(link.port for link in to_postgresql)),
        "RABBITMQ_URL": ",".join(
            url_of(node.node, link.port) for node, link in zip(cluster.nodes, to_rabbitmq, strict=True)
        ),
        "GRPC_HOST": LOOPBACK,
        "GRPC_PORT": str(port),
        "METRICS_HOST": LOOPBACK,
        "METRICS_PORT": "0",
        "SAGA_STOCK_TIMEOUT": f"{STOCK_SECONDS}s",
        "DATABASE_POOL_SIZE": "6",
        **_faked(clock),
    }
    child = Child(_program(folder, name, environ))
    stack.callback(child.close)
    return Member(name, child, to_postgresql, to_rabbitmq, port, clock)


def _program(folder: Path, name: str, environ: Mapping[str, str]) -> Program:
    command = (str(Path(sys.executable).with_name("order-service")), name.partition("-")[0])
    log = folder / f"{name}.log"
    return Program(name, command, environ, log, signal.SIGKILL, _FAREWELL, folder=Path.cwd())


def _clock(folder: Path, name: str) -> Path | None:
    """The last worker's clock can be set, where libfaketime is installed."""
    if name != f"worker-{WORKERS - 1}" or not _FAKETIME.exists():
        return None
    clock = folder / f"{name}.clock"
    clock.write_text("+0\n")
    return clock


def _faked(clock: Path | None) -> Mapping[str, str]:
    if clock is None:
        return {}
    return {
        "LD_PRELOAD": str(_FAKETIME),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
