"""A private RabbitMQ: one node, on the loopback only, with an epmd of its own."""

import base64
import http.client
import secrets
import shutil
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from order_service.private_servers.child_process import ChildProcess, Program, running
from order_service.private_servers.install_rabbitmq import server_script
from order_service.private_servers.ports import LOOPBACK, reserved_ports
from order_service.private_servers.private_folder import private_folder
from order_service.private_servers.rabbitmq_node import USER, Node
from order_service.private_servers.unavailable import ServerUnavailable

# Within a second it has closed its connections; the rest of an orderly stop saves data that nobody will read.
_FAREWELL = ((signal.SIGTERM, 3.0),)
# Nothing of a private node outlives us, so when we are killed it need not take the time of an orderly stop.
_DEATH_SIGNAL = signal.SIGKILL


@dataclass(frozen=True, slots=True)
class Broker:
    """A node that was started, and may not answer yet."""

    node: Node
    server: ChildProcess

    @property
    def url(self) -> str:
        return f"amqp://{USER}:{self.node.password}@{LOOPBACK}:{self.node.port}/"

    @property
    def management_url(self) -> str | None:
        port = self.node.management_port
        return f"http://{USER}:{self.node.password}@{LOOPBACK}:{port}" if port else None

    def wait_until_ready(self) -> None:
        """Returns once it speaks AMQP, and its management answers. Raises ServerUnavailable within 60 s for each."""
        self.server.wait_until(lambda: speaks_amqp(LOOPBACK, self.node.port), seconds=60)
        if port := self.node.management_port:
            self.server.wait_until(lambda: _management_answers(port, self.node.password), seconds=60)


@contextmanager
def private_rabbitmq(
    parent: Path, *, search_path: str, management: bool, say: Callable[[str], None]
) -> Iterator[Broker]:
    """Starts a node with a folder of its own in `parent`; it answers only after `wait_until_ready`.

    Raises ServerUnavailable.
    """
    script, version = server_script(search_path, say)
    with private_folder(parent, "rabbitmq-") as folder, reserved_ports(4) as ports:
        port, distribution_port, epmd_port, management_port = ports
        password = secrets.token_hex(16)
        node = Node(folder, password, port, distribution_port, epmd_port, management_port if management else None)
        node.write_files()
        environ = node.environ(search_path)
        say(f"RabbitMQ {version} from {script.parent} on port {port}")
        with running(_program("epmd", (_epmd(search_path),), environ, folder)) as epmd:
            epmd.wait_until(lambda: _accepts(epmd_port), seconds=20)
            with running(_program("RabbitMQ", (str(script),), environ, folder)) as server:
                yield Broker(node, server)


def speaks_amqp(host: str, port: int) -> bool:
    """Whether an AMQP 0-9-1 server answers the protocol header with a method frame (its Connection.Start)."""
    try:
        with socket.create_connection((host, port), timeout=5) as connection:
            connection.sendall(b"AMQP\x00\x00\x09\x01")
            return connection.recv(1) == b"\x01"
    except OSError:
        return False


def _program(name: str, command: tuple[str, ...], environ: dict[str, str], folder: Path) -> Program:
    log = folder / f"{name.lower()}.log"
    return Program(name, command, environ, log, _DEATH_SIGNAL, _FAREWELL, folder=folder)


def _epmd(search_path: str) -> str:
    """The port mapper, which reads its port and address from the node's environment, and stays in the foreground."""
    program = shutil.which("epmd", path=search_path)
    if program is None:
        raise ServerUnavailable("Erlang's epmd is missing: run 'sudo apt-get install erlang-base' or set RABBITMQ_URL")
    return program


def _accepts(port: int) -> bool:
    with socket.socket() as attempt:
        return attempt.connect_ex((LOOPBACK, port)) == 0


def _management_answers(port: int, password: str) -> bool:
    credentials = base64.b64encode(f"{USER}:{password}".encode()).decode()
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=5)
    try:
        connection.request("GET", "/api/overview", headers={"Authorization": f"Basic {credentials}"})
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
