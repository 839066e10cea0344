"""A private PostgreSQL: a fresh data folder, TCP on the loopback only, a random password."""

import os
import secrets
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from order_service.private_servers.account import Account, unprivileged_account
from order_service.private_servers.child_process import ChildProcess, Program, run_to_end, running
from order_service.private_servers.ports import LOOPBACK, reserved_ports
from order_service.private_servers.postgresql_binaries import Binaries, find_binaries
from order_service.private_servers.private_folder import private_folder

_USER = _DATABASE = "order_service"
_ELSEWHERE = Path("/var/tmp")
# Fast shutdown; then immediate, which kills the backends (each in a session of its own) before the server ends.
_FAREWELL = ((signal.SIGINT, 10.0), (signal.SIGQUIT, 10.0))
# Nothing of a private server outlives us, so when we are killed it need not take the time of a checkpoint.
_DEATH_SIGNAL = signal.SIGQUIT
_SETTINGS = {
    "listen_addresses": LOOPBACK,
    # A socket's path must be shorter than 108 bytes, which a project's folder may not be: TCP only.
    "unix_socket_directories": "",
    "max_connections": "300",
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",
}
_NOT_DURABLE = {"fsync": "off", "full_page_writes": "off"}


@dataclass(frozen=True, slots=True)
class _Cluster:
    """One PostgreSQL installation's worth of data, and the account that owns it."""

    home: Path
    account: Account | None
    binaries: Binaries
    environ: Mapping[str, str]
    log: Path

    def program(self, name: str, *arguments: str) -> Program:
        command = (str(self.binaries.folder / name), *arguments)
        return Program("PostgreSQL", command, self.environ, self.log, _DEATH_SIGNAL, _FAREWELL, self.account)


@contextmanager
def private_postgresql(parent: Path, *, search_path: str, durable: bool, say: Callable[[str], None]) -> Iterator[str]:
    """The URL of a fresh database, whose user may do anything there, on a server that answers.

    Its files go to a folder of its own in `parent`, unless the account it must run as cannot reach that.
    Raises ServerUnavailable.
    """
    account = unprivileged_account()
    with ExitStack() as stack:
        folder = stack.enter_context(private_folder(parent, "postgresql-"))
        home = stack.enter_context(_home(folder, account, say))
        binaries = find_binaries(search_path, account, home / "wheel", say=say)
        (port,) = stack.enter_context(reserved_ports(1))
        environ = {"PATH": search_path, "LC_ALL": "C"}
        cluster = _Cluster(home, account, binaries, environ, folder / "postgresql.log")
        password = _create(cluster, durable)
        say(f"PostgreSQL {binaries.version} from {binaries.folder} on port {port}")
        server = stack.enter_context(running(_server(cluster, port, durable)))
        yield _fresh_database(server, port, password)


@contextmanager
def _home(folder: Path, account: Account | None, say: Callable[[str], None]) -> Iterator[Path]:
    """A folder that the account owns and can reach; nothing above `folder` is opened up for it."""
    home = _owned_folder(folder, account)
    if account is None or account.reaches(home):
        yield home
        return
    say(f"user {account.name}, who runs PostgreSQL for root, cannot reach {folder}: its data goes to {_ELSEWHERE}")
    with private_folder(_ELSEWHERE, "order-service-postgresql-") as elsewhere:
        yield _owned_folder(elsewhere, account)


def _owned_folder(parent: Path, account: Account | None) -> Path:
    home = parent / "home"
    home.mkdir(mode=0o700)
    if account:
        os.chown(home, account.uid, account.gid)
        parent.chmod(0o711)
    return home


def _create(cluster: _Cluster, durable: bool) -> str:
    """Runs initdb; returns the password it gave to the superuser."""
    password = secrets.token_hex(16)
    password_file = cluster.home.with_name("password")
    password_file.touch(mode=0o600)
    password_file.write_text(password)
    if cluster.account:
        os.chown(password_file, cluster.account.uid, cluster.account.gid)
    options = [f"--pgdata={cluster.home / 'data'}", f"--username={_USER}", f"--pwfile={password_file}"]
    options += ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"]
    run_to_end(cluster.program("initdb", *options, *([] if durable else ["--no-sync"])), seconds=60)
    password_file.unlink()
    return password


def _server(cluster: _Cluster, port: int, durable: bool) -> Program:
    settings = {**_SETTINGS, **({} if durable else _NOT_DURABLE), "port": str(port)}
    arguments = [f"--{name}={value}" for name, value in settings.items()]
    return cluster.program("postgres", "-D", str(cluster.home / "data"), *arguments)


def _fresh_database(server: ChildProcess, port: int, password: str) -> str:
    url = f"postgresql://{_USER}:{password}@{LOOPBACK}:{port}"

    def created() -> bool:
        try:
            with psycopg.connect(f"{url}/postgres", autocommit=True, connect_timeout=5) as connection:
                connection.execute(f"CREATE DATABASE {_DATABASE}")
        except psycopg.OperationalError:
            return False
        return True

    server.wait_until(created, seconds=60)
    return f"{url}/{_DATABASE}"
