"""Real servers are started here; nothing of them may outlive their run, whatever ends it."""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import aio_pika
import psycopg
import pytest

from order_service.private_servers import Servers, ServerUnavailable, private_servers
from order_service.private_servers.ports import reserved_ports
from order_service.private_servers.private_folder import private_folder

NOTHING_GIVEN = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
LOOPBACK = {"0100007F", "00000000000000000000000001000000"}
PROJECT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder that every account can reach, as pytest's own cannot be."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o711)
        yield Path(folder) / "a folder"


@pytest.fixture(scope="module")
def servers(folder: Path) -> Iterator[Servers]:
    told: list[str] = []
    with private_servers(folder, environ=NOTHING_GIVEN, durable=False, management=True, say=told.append) as servers:
        yield servers

    assert all("\n" not in line for line in told)
    assert processes_of(folder) == {}
    assert [path.name for path in folder.iterdir()] == [".gitignore"]


def test_the_database_is_fresh_and_has_room_for_many_tests(servers: Servers) -> None:
    with psycopg.connect(servers.database_url) as connection:
        tables = connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone()
        settings = {name: show(connection, name) for name in ("max_connections", "fsync", "server_encoding")}

    assert tables == (0,)
    assert settings == {"max_connections": "300", "fsync": "off", "server_encoding": "UTF8"}
    assert servers.private == ("postgresql", "rabbitmq")


def test_the_broker_carries_a_message(servers: Servers) -> None:
    async def carry() -> bytes:
        async with await aio_pika.connect(servers.rabbitmq_url) as connection:
            channel = await connection.channel()
            queue = await channel.declare_queue("there and back", exclusive=True)
            await channel.default_exchange.publish(aio_pika.Message(b"hello"), routing_key=queue.name)
            message = await queue.get(timeout=30)
            assert message is not None
            return message.body

    assert asyncio.run(carry()) == b"hello"


def test_all_listen_on_the_loopback_only(servers: Servers, folder: Path) -> None:
    addresses = {address for pid in processes_of(folder) for address in listening_addresses(pid)}

    # Those of PostgreSQL, epmd, and the node's distribution, AMQP and management; epmd listens on ::1 as well.
    assert len(addresses) == 6
    assert {address.split(":")[0] for address in addresses} == LOOPBACK


def test_the_urls_are_not_in_the_repr(servers: Servers) -> None:
    assert "amqp" not in repr(servers)
    assert repr(servers) == "Servers(private=('postgresql', 'rabbitmq'))"


def test_given_servers_are_used_as_they_are(servers: Servers, tmp_path: Path) -> None:
    told: list[str] = []

    with private_servers(tmp_path / "unused", environ=given(servers), say=told.append) as same:
        assert (same.database_url, same.rabbitmq_url) == (servers.database_url, servers.rabbitmq_url)
        assert same.private == ()

    assert not (tmp_path / "unused").exists()
    assert len(told) == 2


def test_the_status_of_the_command_is_passed_on(servers: Servers) -> None:
    with started_beside("exit 7", cwd=PROJECT, environ=NOTHING_GIVEN | given(servers)) as started:
        assert started.wait(timeout=90) == 7


def test_a_wrong_password_is_told_in_one_line_without_it(servers: Servers, tmp_path: Path) -> None:
    user, _, rest = servers.database_url.partition("@")
    wrong = f"{user[: user.rindex(':')]}:not-the-word@{rest}"

    told = refusal({"DATABASE_URL": wrong}, tmp_path)

    assert "password authentication failed" in told
    assert "not-the-word" not in told


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://someone:hush-hush@127.0.0.1:{port}/orders",
        "host=127.0.0.1 port={port} user=someone password=hush-hush",
        "postgresql://someone:hush-hush@[127.0.0.1/orders",
        "postgresql://someone:hush-hush@127.0.0.1:port/orders",
    ],
)
def test_an_unreachable_database_is_told_in_one_line_without_the_password(url: str, tmp_path: Path) -> None:
    with reserved_ports(1) as (port,):
        told = refusal({"DATABASE_URL": url.format(port=port)}, tmp_path)

    assert "DATABASE_URL" in told
    assert "hush-hush" not in told


@pytest.mark.parametrize("url", ["amqp://someone:hush-hush@127.0.0.1:{port}/", "amqp://someone:hush/hush@nowhere"])
def test_an_unreachable_broker_is_told_in_one_line_without_the_password(url: str, tmp_path: Path) -> None:
    with reserved_ports(1) as (port,):
        told = refusal({"RABBITMQ_URL": url.format(port=port)}, tmp_path)

    assert "RABBITMQ_URL" in told
    assert "hush" not in told


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs PostgreSQL as somebody else")
def test_a_folder_out_of_reach_is_replaced_and_stays_closed(servers: Servers, tmp_path: Path) -> None:
    told: list[str] = []
    tmp_path.chmod(0o700)
    environ = NOTHING_GIVEN | {"RABBITMQ_URL": servers.rabbitmq_url}

    with private_servers(tmp_path / "closed", environ=environ, durable=False, say=told.append) as elsewhere:
        with psycopg.connect(elsewhere.database_url) as connection:
            data = Path(show(connection, "data_directory"))
        assert elsewhere.private == ("postgresql",)

    assert data.is_relative_to("/var/tmp")
    assert not data.parents[1].exists()
    assert any("cannot reach" in line for line in told)
    assert tmp_path.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 128 + signal.SIGTERM), (signal.SIGKILL, -9)])
def test_nothing_outlives_a_run_that_is_ended_by(number: signal.Signals, status: int, folder: Path) -> None:
    own = folder.with_name(number.name)
    own.mkdir()
    with started_beside("echo ready; exec sleep 100", cwd=own, environ=NOTHING_GIVEN) as started:
        assert started.stdout is not None
        assert started.stdout.readline() == b"ready\n"
        assert {"postgres", "beam.smp", "epmd"} <= set(processes_of(own).values())

        started.send_signal(number)

        assert started.wait(timeout=90) == status
    wait_until(lambda: processes_of(own) == {})
    with ExitStack() as later_run:
        for prefix in ("postgresql-", "rabbitmq-"):
            later_run.enter_context(private_folder(own / ".private-servers", prefix))
        assert len(list((own / ".private-servers").glob("*-*"))) == 2


def given(servers: Servers) -> dict[str, str]:
    return {"DATABASE_URL": servers.database_url, "RABBITMQ_URL": servers.rabbitmq_url}


def show(connection: psycopg.Connection, name: str) -> str:
    row = connection.execute("SELECT current_setting(%s)", [name]).fetchone()
    assert row is not None
    return str(row[0])


def refusal(environ: Mapping[str, str], folder: Path) -> str:
    """The one line with which it refuses to start."""
    with pytest.raises(ServerUnavailable) as refused, private_servers(folder, environ=environ, say=print):
        pass
    assert "\n" not in str(refused.value)
    return str(refused.value)


@contextmanager
def started_beside(script: str, *, cwd: Path, environ: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "order_service.private_servers", "--fast", "--", "sh", "-c", script]
    path = {"PYTHONPATH": str(PROJECT)}
    with subprocess.Popen(
        command, cwd=cwd, env={**environ, **path}, stdout=subprocess.PIPE, start_new_session=True
    ) as started:
        try:
            yield started
        finally:
            started.terminate()


def processes_of(folder: Path) -> dict[int, str]:
    """Id and name of each process that works in the folder, as every server does, and whatever a server starts."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").readlink().is_relative_to(folder):
                found[int(process.name)] = (process / "comm").read_text().strip()
        except OSError:
            continue
    return found


def listening_addresses(pid: int) -> Iterator[str]:
    sockets = {str(file.readlink()) for file in Path(f"/proc/{pid}/fd").iterdir() if file.is_symlink()}
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state, *_ = columns = line.split()
            if state == "0A" and f"socket:[{columns[9]}]" in sockets:
                yield local


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.02)
