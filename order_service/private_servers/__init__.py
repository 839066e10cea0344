"""A real PostgreSQL and a real RabbitMQ for the demo and the tests, without Docker.

What it guarantees
    Within `private_servers` both servers answer, at URLs that nobody else was given. A server whose URL is in the
    environment is used as it is; each of the others is a private instance: fresh data, random password, free ports,
    listening on the loopback only, every file in a folder of its own. System services are not used, and one that an
    install brings along stays off. At the end, however it comes, the instances stop and their folders go. Any number
    may run side by side.

How it fails
    `ServerUnavailable`, one line that says what is missing and how to get it. When this process is killed outright,
    the kernel ends the servers, and the next start removes the folders that were left. Servers are bound to the thread
    that entered `private_servers`: enter it in one that lives as long as they should, such as the main thread.

Why it is so
    The saga, the outbox and the inbox are only as good as what the database and the broker really do, so nothing here
    is mocked, and nobody should need more than `pip install` and, once, apt-get to see it run. PostgreSQL refuses to
    run as root, so root runs it as another account; it gets a folder of ours, and no right on anything above it.
    RabbitMQ takes ten seconds to start: it is started first, and PostgreSQL is made while it does.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from order_service.private_servers.given import check_broker, check_database
from order_service.private_servers.interrupts import interrupts_deferred
from order_service.private_servers.postgresql import private_postgresql
from order_service.private_servers.rabbitmq import private_rabbitmq
from order_service.private_servers.unavailable import ServerUnavailable

__all__ = ["ServerUnavailable", "Servers", "private_servers"]


@dataclass(frozen=True, slots=True)
class Servers:
    """Where the servers are. `private` names those that were started here: "postgresql", "rabbitmq".

    The URLs hold passwords, so they are left out of its repr.
    """

    database_url: str = field(repr=False)
    rabbitmq_url: str = field(repr=False)
    rabbitmq_management_url: str | None = field(repr=False)
    private: tuple[str, ...]


@contextmanager
def private_servers(
    folder: Path,
    *,
    environ: Mapping[str, str],
    durable: bool = True,
    management: bool = False,
    say: Callable[[str], None],
) -> Iterator[Servers]:
    """Both servers, within the block: those of DATABASE_URL and RABBITMQ_URL in `environ`, else private ones.

    `folder` (made if need be) gets a folder for each server. `durable=False` switches off fsync: for tests only.
    `management` gives a private RabbitMQ its HTTP API; a given one's is RABBITMQ_MANAGEMENT_URL. `say` is told in
    one line of everything worth knowing. Raises ServerUnavailable.
    """
    given_database, given_broker = environ.get("DATABASE_URL", ""), environ.get("RABBITMQ_URL", "")
    if given_database:
        say(check_database(given_database))
    if given_broker:
        say(check_broker(given_broker))
    search_path = environ.get("PATH", os.defpath)
    stack = ExitStack()
    try:
        broker = None
        if not given_broker:
            broker = stack.enter_context(
                private_rabbitmq(_prepared(folder), search_path=search_path, management=management, say=say)
            )
        database_url = given_database or stack.enter_context(
            private_postgresql(_prepared(folder), search_path=search_path, durable=durable, say=say)
        )
        if broker:
            broker.wait_until_ready()
        yield Servers(
            database_url=database_url,
            rabbitmq_url=broker.url if broker else given_broker,
            rabbitmq_management_url=broker.management_url if broker else environ.get("RABBITMQ_MANAGEMENT_URL") or None,
            private=tuple(
                name for name, given in (("postgresql", given_database), ("rabbitmq", given_broker)) if not given
            ),
        )
    finally:
        with interrupts_deferred():
            stack.close()


def _prepared(folder: Path) -> Path:
    """The folder, made if need be, which git does not see."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".gitignore").write_text("*\n")
    except OSError as error:
        raise ServerUnavailable(
            f"private servers need a folder to write in, and {folder} is none: {error.strerror}"
        ) from error
    return folder.absolute()
