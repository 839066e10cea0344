"""Brings the schema `order_service` up to date with the files of `migrations/`.

Guarantees: each file is applied once, whole, in the order of the names, however many runners start at once (an
advisory lock for the length of a transaction); a runner that is killed leaves nothing half done; a file that was
edited after it was applied is refused, by its checksum. Forward only.

Fails with `MigrationRefused`, which says what to do, or as the rest of `storage`.
"""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

import psycopg
from psycopg import errors

from order_service.domain.errors import OrderServiceError, StorageRefused, StorageUnavailable
from order_service.storage.silence import cut_off_after

_LOCK: Final = 0x6F72646572  # "order" in ASCII: one lock for every runner of this service in this database
_CHECK_SECONDS: Final = 5.0
"""A server that keeps silent for so long has vanished: no process waits for it for ever at its start."""

_BOOKKEEPING: Final = """
    create schema if not exists order_service;
    create table if not exists order_service.schema_migrations (
        name text primary key, checksum text not null, applied_at timestamptz not null default now())
"""


class MigrationRefused(OrderServiceError):
    """The schema and the migration files do not fit together; the text says how and what to do."""


@dataclass(frozen=True, slots=True)
class Migration:
    """A file of `migrations/`."""

    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the file."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


async def migrate(url: str, migrations: Iterable[Migration], told: Callable[[str], None]) -> int:
    """Applies what has not been applied; calls `told` with each name as it is; returns how many.

    Raises MigrationRefused, StorageUnavailable, StorageRefused.
    """
    files = list(migrations)
    applied = 0
    try:
        async with await psycopg.AsyncConnection.connect(url, autocommit=True, connect_timeout=10) as connection:
            while (name := await _apply_next(connection, files)) is not None:
                told(name)
                applied += 1
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        raise StorageUnavailable(_first_line(error)) from error
    except psycopg.Error as error:
        raise StorageRefused(_first_line(error)) from error
    return applied


async def check(url: str, migrations: Iterable[Migration]) -> None:
    """Raises MigrationRefused if something has not been applied, and as `migrate` does. Changes nothing."""
    try:
        async with await psycopg.AsyncConnection.connect(url, autocommit=True, connect_timeout=10) as connection:
            with cut_off_after(_CHECK_SECONDS, connection):
                recorded = await _recorded(connection)
        pending = _pending(list(migrations), recorded)
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        raise StorageUnavailable(_first_line(error)) from error
    except psycopg.Error as error:
        raise StorageRefused(_first_line(error)) from error
    if pending:
        names = ", ".join(migration.name for migration in pending)
        raise MigrationRefused(f"the database lacks {names}: run 'order-service migrate'")


async def _apply_next(connection: psycopg.AsyncConnection, files: list[Migration]) -> str | None:
    async with connection.transaction():
        await connection.execute("select pg_advisory_xact_lock(%s)", (_LOCK,))
        await connection.execute(_BOOKKEEPING)
        pending = _pending(files, await _recorded(connection))
        if not pending:
            return None
        await connection.execute(pending[0].sql.encode())
        await connection.execute(
            "insert into order_service.schema_migrations (name, checksum) values (%s, %s)",
            (pending[0].name, pending[0].checksum),
        )
        return pending[0].name


async def _recorded(connection: psycopg.AsyncConnection) -> dict[str, str]:
    try:
        cursor = await connection.execute("select name, checksum from order_service.schema_migrations")
    except (errors.UndefinedTable, errors.InvalidSchemaName):
        return {}
    return {str(name): str(checksum) for name, checksum in await cursor.fetchall()}


def _pending(files: list[Migration], recorded: dict[str, str]) -> list[Migration]:
    for migration in files:
        if recorded.get(migration.name, migration.checksum) != migration.checksum:
            raise MigrationRefused(
                f"{migration.name} was edited after it was applied: restore it, and put the change into a new file"
            )
    pending = [migration for migration in files if migration.name not in recorded]
    applied = sorted(recorded.keys() & {migration.name for migration in files})
    if pending and applied and pending[0].name < applied[-1]:
        raise MigrationRefused(f"{pending[0].name} sorts before {applied[-1]}, which was applied: give it a later name")
    return pending


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
