"""The servers that everything is measured on: private ones that write to disk as in production, and what they are."""

import importlib.metadata
import os
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psycopg

from order_service.private_servers import ServerUnavailable, private_servers
from tests.bench.measured import Tell
from tests.integration.management import Management
from tests.integration.platform import Servers, prepare_template

_MUST_BE_ON: Final = ("fsync", "full_page_writes", "synchronous_commit")
_SETTINGS: Final = (*_MUST_BE_ON, "wal_sync_method", "shared_buffers", "max_wal_size")
_PACKAGES: Final = ("grpcio", "protobuf", "psycopg", "aio-pika", "uvloop")


@dataclass(frozen=True, slots=True)
class Environment:
    """What the figures hold for."""

    postgresql: str
    settings: Mapping[str, str]
    rabbitmq: str
    python: str
    packages: Mapping[str, str]
    cpus: int
    processor: str
    kernel: str

    def as_json(self) -> dict[str, Any]:
        """All of it."""
        return {name: getattr(self, name) for name in self.__slots__}

    def short(self) -> list[str]:
        """The most of it in few words."""
        versions = f"Python {self.python}, grpcio {self.packages['grpcio']}"
        postgresql = " ".join(self.postgresql.split()[:2])
        fsync = f"{postgresql}, fsync {self.settings['fsync']}"
        return [fsync, self.rabbitmq, versions, f"{self.cpus} CPUs"]

    def lines(self) -> list[str]:
        """For people."""
        packages = ", ".join(f"{name} {version}" for name, version in self.packages.items())
        settings = ", ".join(f"{name} {value}" for name, value in self.settings.items())
        return [
            f"{self.postgresql} ({settings})",
            f"{self.rabbitmq}; Python {self.python}; {packages}",
            f"{self.cpus} CPUs, {self.processor}, {self.kernel}",
        ]


@contextmanager
def durable_servers(folder: Path, say: Tell) -> Iterator[tuple[Servers, Environment]]:
    """Both servers within the block. Raises ServerUnavailable, also if PostgreSQL is set to lose what it commits."""
    with private_servers(folder, environ=os.environ, durable=True, management=True, say=say) as given:
        if not given.rabbitmq_management_url:
            raise ServerUnavailable("set RABBITMQ_MANAGEMENT_URL: each row makes a vhost of its own")
        servers = Servers(given.database_url, given.rabbitmq_url, given.rabbitmq_management_url)
        environment = environment_of(servers)
        check_durable(environment.settings)
        prepare_template(servers.database_url)
        yield servers, environment


def check_durable(settings: Mapping[str, str]) -> None:
    """Raises ServerUnavailable if a PostgreSQL that is set so may lose what it has committed."""
    off = [name for name in _MUST_BE_ON if settings[name] != "on"]
    if off:
        raise ServerUnavailable(f"PostgreSQL does not have {', '.join(off)} set to on: no figure would count")


def environment_of(servers: Servers) -> Environment:
    """As it is now."""
    with psycopg.connect(servers.database_url) as connection:
        version = connection.execute("select version()").fetchone()
        settings: list[tuple[str, str]] = connection.execute(
            "select name, current_setting(name) from pg_settings where name = any(%s)", (list(_SETTINGS),)
        ).fetchall()
    overview = Management(servers.management_url, "/").call("GET", "overview")
    return Environment(
        postgresql=version[0] if version else "",
        settings={name: dict(settings)[name] for name in _SETTINGS},
        rabbitmq=f"RabbitMQ {overview['rabbitmq_version']} on Erlang/OTP {overview['erlang_version']}",
        python=platform.python_version(),
        packages={name: importlib.metadata.version(name) for name in _PACKAGES},
        cpus=len(os.sched_getaffinity(0)),
        processor=_processor(),
        kernel=f"{platform.system()} {platform.release()}",
    )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
