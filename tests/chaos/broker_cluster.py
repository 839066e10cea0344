"""Three RabbitMQ nodes in a cluster whose nodes reach each other only through links that can be cut."""

import asyncio
import secrets
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from order_service.private_servers.child_process import Program
from order_service.private_servers.install_rabbitmq import server_script
from order_service.private_servers.ports import LOOPBACK, reserved_ports
from order_service.private_servers.rabbitmq import speaks_amqp
from order_service.private_servers.rabbitmq_node import USER, Node
from tests.chaos.child import Child
from tests.chaos.disks import Disk, disk
from tests.chaos.epmd import Alive, Epmd
from tests.chaos.links import Link, link_to

NODES: Final = 3
_DISK_MEGABYTES: Final = 500
_FAREWELL: Final = ((signal.SIGTERM, 3.0),)
_TICK_SECONDS: Final = 8
"""A neighbour that keeps silent is given up after this, give or take a quarter."""

_START_SECONDS: Final = 120.0
_CONTROL_SECONDS: Final = 60.0


class ControlFailed(Exception):
    """rabbitmqctl did not do what it was told; the text is what it said."""


@dataclass(frozen=True, slots=True)
class BrokerNode:
    """One node: its process, its disk, and the links that lead from the other nodes to it."""

    node: Node
    child: Child
    disk: Disk
    control_script: Path

    @property
    def name(self) -> str:
        """With its host, as the nodes call each other."""
        return f"order-{self.node.port}@localhost"

    def answers(self) -> bool:
        """Whether it speaks AMQP. Does not wait long."""
        return speaks_amqp(LOOPBACK, self.node.port)

    async def control(self, *arguments: str) -> str:
        """Has rabbitmqctl do something; what it prints. Raises ControlFailed."""
        log = self.node.folder / "rabbitmqctl.log"
        log.write_bytes(b"")
        command = (str(self.control_script), "--quiet", *arguments)
        environ = self.child.program.environ
        child = Child(Program("rabbitmqctl", command, environ, log, signal.SIGKILL, _FAREWELL, folder=self.node.folder))
        child.start()
        try:
            ended = await child.has_ended(_CONTROL_SECONDS)
            code = child.exit_code() if ended else None
        finally:
            child.close()
        if code != 0:
            raise ControlFailed(f"{arguments[0]} ended with {code}: {log.read_text(errors='replace').strip()[-300:]}")
        return log.read_text(errors="replace")


@dataclass(frozen=True, slots=True)
class BrokerCluster:
    """The nodes, and for each ordered pair (from, to) the link between them."""

    nodes: tuple[BrokerNode, ...]
    between: Mapping[tuple[int, int], Link]
    version: str

    def links_of(self, number: int) -> list[Link]:
        """Those that part one node from the others when they are cut."""
        return [link for pair, link in self.between.items() if number in pair]

    async def short_of_members(self) -> list[str]:
        """The queues that are not kept on every node. Raises ControlFailed."""
        printed = await self.nodes[0].control("list_queues", "--no-table-headers", "name", "type", "members")
        return [line for line in printed.splitlines() if line.count("@") < len(self.nodes)]

    async def mend(self) -> None:
        """Starts again what has ended, until every node answers. Raises TimeoutError."""
        async with asyncio.timeout(_START_SECONDS):
            for node in self.nodes:
                while not await asyncio.to_thread(node.answers):
                    if not node.child.is_alive:
                        node.child.start()
                    await asyncio.sleep(0.2)


@asynccontextmanager
async def broker_cluster(folder: Path, search_path: str, say: Callable[[str], None]) -> AsyncIterator[BrokerCluster]:
    """The cluster, whole, within the block. Raises ServerUnavailable, TimeoutError."""
    script, version = server_script(search_path, say)
    password, cookie = secrets.token_hex(16), secrets.token_hex(32)
    async with AsyncExitStack() as stack:
        nodes = [_node(folder, number, password, stack.enter_context(reserved_ports(3))) for number in range(NODES)]
        names = [f"order-{node.port}" for node in nodes]
        pairs = [(one, other) for one in range(NODES) for other in range(NODES) if one != other]
        between = {
            (one, other): await stack.enter_async_context(link_to(nodes[other].distribution_port))
            for one, other in pairs
        }
        brokers = []
        everybody: dict[str, Alive] = {}
        for number, node in enumerate(nodes):
            neighbours = {names[other]: between[number, other].port for other in range(NODES) if other != number}
            await stack.enter_async_context(Epmd(node.epmd_port, neighbours, everybody).serving())
            small = stack.enter_context(disk(node.folder / "mnesia", _DISK_MEGABYTES))
            _write_files(node, cookie, [f"{name}@localhost" for name in names])
            child = Child(_program(node, number, script, search_path))
            stack.callback(child.close)
            brokers.append(BrokerNode(node, child, small, script.with_name("rabbitmqctl")))
        cluster = BrokerCluster(tuple(brokers), between, version)
        for broker in brokers:
            broker.child.start()
        try:
            await cluster.mend()
            yield cluster
        finally:
            await asyncio.gather(*(broker.child.end() for broker in brokers))


def url_of(node: Node, port: int) -> str:
    """A node's URL by way of a port."""
    return f"amqp://{USER}:{node.password}@{LOOPBACK}:{port}/"


def _node(folder: Path, number: int, password: str, ports: list[int]) -> Node:
    home = folder / f"rabbitmq-{number}"
    home.mkdir()
    port, distribution_port, epmd_port = ports
    return Node(home, password, port, distribution_port, epmd_port, None)


def _write_files(node: Node, cookie: str, names: list[str]) -> None:
    """What every private node has, and what makes it one of a cluster."""
    node.write_files()
    file = node.folder / ".erlang.cookie"
    file.unlink()
    file.touch(mode=0o600)
    file.write_text(cookie)
    file.chmod(0o400)
    lines = [
        "cluster_formation.peer_discovery_backend = classic_config",
        "cluster_formation.randomized_startup_delay_range.min = 0",
        "cluster_formation.randomized_startup_delay_range.max = 1",
        "cluster_partition_handling = pause_minority",
        "mnesia_table_loading_retry_limit = 60",
        *(f"cluster_formation.classic_config.nodes.{place} = {name}" for place, name in enumerate(names, 1)),
    ]
    with (node.folder / "rabbitmq.conf").open("a") as configuration:
        configuration.write("\n".join(lines) + "\n")
    (node.folder / "advanced.config").write_text(f"[{{kernel, [{{net_ticktime, {_TICK_SECONDS}}}]}}].\n")


def _program(node: Node, number: int, script: Path, search_path: str) -> Program:
    log = node.folder / "rabbitmq.log"
    environ = node.environ(search_path) | {"MALLOC_ARENA_MAX": "2"}
    name = f"broker {number}"
    return Program(name, (str(script),), environ, log, signal.SIGKILL, _FAREWELL, folder=node.folder)
