"""A PostgreSQL primary with a streaming standby that confirms every commit, and the failover between the two.

Never are two primaries reachable: the old one is dead, all its backends gone, before the other is promoted. Commits
wait for the standby, also after a failover: until the old primary was rebuilt as the new standby nothing is
acknowledged, so no order can be lost with the second machine either.
"""

import asyncio
import os
import secrets
import shutil
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psycopg

from order_service.private_servers.account import Account, unprivileged_account
from order_service.private_servers.child_process import Program, run_to_end
from order_service.private_servers.ports import LOOPBACK, reserved_ports
from order_service.private_servers.postgresql_binaries import Binaries, find_binaries
from tests.chaos.child import Child
from tests.chaos.disks import Disk, disk
from tests.chaos.links import Link, link_to
from tests.waiting import eventually

USER: Final = "order_service"
_DISK_MEGABYTES: Final = 1000
_FAREWELL: Final = ((signal.SIGINT, 3.0), (signal.SIGQUIT, 3.0))
_START_SECONDS: Final = 60.0
SETTINGS: Final = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "max_connections": "300",
    "shared_buffers": "64MB",
    "max_wal_size": "256MB",
    "wal_keep_size": "256MB",
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "synchronous_standby_names": "*",
    "wal_receiver_timeout": "5s",
    "wal_sender_timeout": "5s",
    "wal_retrieve_retry_interval": "200ms",
}


@dataclass(frozen=True, slots=True)
class PostgresNode:
    """One server: its process, its disk, and the link by which the other one follows it."""

    number: int
    port: int
    password: str
    child: Child
    disk: Disk
    followed_through: Link

    @property
    def data(self) -> Path:
        """Its data folder."""
        return self.disk.folder / "data"

    async def ask(self, query: str, database: str = "postgres", commit: str = "local") -> list[tuple[Any, ...]]:
        """Rows of this server, or nothing for a statement without. Raises psycopg.Error."""
        async with await psycopg.AsyncConnection.connect(
            host=LOOPBACK,
            port=self.port,
            user=USER,
            password=self.password,
            dbname=database,
            autocommit=True,
            connect_timeout=3,
            options=f"-c synchronous_commit={commit} -c statement_timeout=20s",
        ) as connection:
            cursor = await connection.execute(query.encode())
            return await cursor.fetchall() if cursor.description else []

    async def answers(self) -> bool:
        """Whether it takes connections and answers."""
        try:
            async with asyncio.timeout(5):
                return bool(await self.ask("select 1"))
        except (psycopg.Error, TimeoutError):
            return False


@dataclass(slots=True)
class PostgresPair:
    """Two nodes, one of them the primary."""

    nodes: tuple[PostgresNode, PostgresNode]
    binaries: Binaries
    account: Account | None
    failovers: int = 0
    primary_number: int = 0
    log: Path = field(default=Path("/dev/null"))

    @property
    def primary(self) -> PostgresNode:
        """The one that takes writes."""
        return self.nodes[self.primary_number]

    @property
    def standby(self) -> PostgresNode:
        """The one that confirms them."""
        return self.nodes[1 - self.primary_number]

    async def is_safe(self) -> bool:
        """Whether the standby holds all that was acknowledged, so that it could take over now."""
        rows = "select 1 from pg_stat_replication where state = 'streaming' and sync_state in ('sync', 'quorum')"
        try:
            async with asyncio.timeout(5):
                return bool(await self.primary.ask(rows))
        except (psycopg.Error, TimeoutError):
            return False

    async def wait_until_safe(self, seconds: float = _START_SECONDS) -> None:
        """Returns once both nodes are up and the standby follows. Fails if they do not within the time."""
        await eventually(self.is_safe, seconds)

    async def start(self, node: PostgresNode, seconds: float = _START_SECONDS) -> None:
        """Starts a node, again until it answers: what is left of a killed one may still be in the way, or the disk
        full. Raises TimeoutError."""
        async with asyncio.timeout(seconds):
            while True:
                if not node.child.is_alive:
                    node.child.start()
                if await node.answers():
                    return
                await asyncio.sleep(0.1)

    async def promote_standby(self) -> None:
        """Makes the standby the primary; the primary must be dead. Raises RuntimeError, psycopg.Error."""
        if self.primary.child.is_alive:
            raise RuntimeError("the old primary must be fenced before the other one is promoted")
        await self.standby.ask("select pg_promote(true, 30)")
        self.primary_number = self.standby.number
        self.failovers += 1

    async def rebuild_standby(self) -> None:
        """Makes the node that is no primary follow the one that is, from a fresh copy. Raises RuntimeError."""
        node = self.standby
        await node.child.end()
        await asyncio.to_thread(shutil.rmtree, node.data)
        copying = Child(self._copy(node))
        copying.start()
        ended = await copying.has_ended(_START_SECONDS)
        code = copying.exit_code()
        copying.close()
        if not ended or code != 0:
            raise RuntimeError(f"pg_basebackup did not succeed: {self.log.read_text(errors='replace')[-500:]}")
        await self.start(node)

    def _copy(self, node: PostgresNode) -> Program:
        source = f"host={LOOPBACK} port={self.primary.followed_through.port} user={USER} connect_timeout=5"
        options = ["-D", str(node.data), "-c", "fast", "-X", "stream", "-R", "-d", source]
        return _program(self.binaries, self.account, "pg_basebackup", options, self.log, node.password)


@asynccontextmanager
async def postgres_pair(folder: Path, search_path: str, say: Callable[[str], None]) -> AsyncIterator[PostgresPair]:
    """Both nodes, the standby following, within the block. Raises ServerUnavailable, RuntimeError, TimeoutError."""
    account = unprivileged_account()
    binaries = find_binaries(search_path, account, folder / "wheel", say=say)
    password = secrets.token_hex(16)
    async with AsyncExitStack() as stack:
        nodes = []
        ports = stack.enter_context(reserved_ports(2))
        for number, port in enumerate(ports):
            small = stack.enter_context(disk(folder / f"postgresql-{number}", _DISK_MEGABYTES))
            if account:
                os.chown(small.folder, account.uid, account.gid)
            link = await stack.enter_async_context(link_to(port))
            log = folder / f"postgresql-{number}.log"
            settings = [f"--{name}={value}" for name, value in {**SETTINGS, "port": str(port)}.items()]
            server = ["-D", str(small.folder / "data"), *settings]
            child = Child(_program(binaries, account, "postgres", server, log, password, name=f"postgresql {number}"))
            stack.callback(child.close)
            nodes.append(PostgresNode(number, port, password, child, small, link))
        pair = PostgresPair((nodes[0], nodes[1]), binaries, account, log=folder / "basebackup.log")
        _create(pair, password)
        await pair.start(pair.primary)
        await pair.primary.ask(f"create database {USER}")
        (pair.standby.data).mkdir()
        if account:
            os.chown(pair.standby.data, account.uid, account.gid)
        await pair.rebuild_standby()
        await pair.wait_until_safe()
        yield pair


def _create(pair: PostgresPair, password: str) -> None:
    password_file = pair.primary.disk.folder / "password"
    password_file.touch(mode=0o600)
    password_file.write_text(password)
    if pair.account:
        os.chown(password_file, pair.account.uid, pair.account.gid)
    options = [f"--pgdata={pair.primary.data}", f"--username={USER}", f"--pwfile={password_file}"]
    options += ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"]
    run_to_end(_program(pair.binaries, pair.account, "initdb", options, pair.log, password), seconds=60)
    password_file.unlink()


def _program(
    binaries: Binaries,
    account: Account | None,
    program: str,
    arguments: list[str],
    log: Path,
    password: str,
    name: str = "",
) -> Program:
    return Program(
        name or program,
        (str(binaries.folder / program), *arguments),
        {"PATH": os.defpath, "LC_ALL": "C", "PGPASSWORD": password},
        log,
        signal.SIGQUIT,
        _FAREWELL,
        account,
    )
