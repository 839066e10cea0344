"""PostgreSQL itself: how it is set, who is connected, and what this role may do. Changes nothing."""

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import ClassVar, Final

from psycopg.conninfo import conninfo_to_dict

from order_service.storage.table import Table

SETTINGS: Final = (
    "fsync",
    "full_page_writes",
    "synchronous_commit",
    "synchronous_standby_names",
    "data_checksums",
    "wal_level",
    "wal_sync_method",
    "max_connections",
    "superuser_reserved_connections",
    "statement_timeout",
    "lock_timeout",
    "idle_in_transaction_session_timeout",
    "autovacuum",
    "track_counts",
)
"""The settings that are read."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting in this session: in words ("4s"), in its base unit ("4000"), and where it comes from, such as
    "configuration file", "user" or "database"."""

    name: str
    text: str
    value: str
    source: str


@dataclass(frozen=True, slots=True)
class Identity:
    """Who answers and as whom we are known. `sees_all`: may see the activity of other roles."""

    version: int
    in_recovery: bool
    role: str
    superuser: bool
    sees_all: bool
    tls: bool
    clock: float


@dataclass(frozen=True, slots=True)
class TableRights:
    """What this role may do with a table."""

    table: str
    select: bool
    insert: bool
    update: bool
    delete: bool


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """All that was read. Times are in seconds; `clock_ahead` says by how much the server's clock is ahead of this
    machine's, give or take `clock_error`."""

    identity: Identity
    settings: Mapping[str, Setting]
    standbys: tuple[tuple[str, str], ...]
    idle_slots: tuple[tuple[str, str], ...]
    oldest_prepared: float
    oldest_transaction: float
    rights: tuple[TableRights, ...]
    may_make_partitions: bool
    missing_partitions: tuple[str, ...]
    clock_ahead: float
    clock_error: float
    hosts: tuple[str, ...]
    target_session_attrs: str


class Server(Table):
    """The statements that ask PostgreSQL about itself."""

    name: ClassVar[str] = "server"

    async def facts(self, url: str) -> ServerFacts:
        """All there is to know of the server that `url` led to. Any role may ask; what it may not see is empty. Reads
        this machine's clock."""
        before = time.time()
        identity = await self._one("identity", Identity)
        after = time.time()
        if identity is None:
            raise LookupError("PostgreSQL does not know the role that it let in")
        oldest_prepared, oldest_transaction = await self._one("oldest_transactions", _pair) or (0.0, 0.0)
        parameters = self._connection.info.get_parameters()
        return ServerFacts(
            identity=identity,
            settings=await self._settings(SETTINGS),
            standbys=tuple(await self._all("standbys", _texts)),
            idle_slots=tuple(await self._all("idle_slots", _texts)),
            oldest_prepared=oldest_prepared,
            oldest_transaction=oldest_transaction,
            rights=tuple(await self._all("rights", TableRights)),
            may_make_partitions=bool(await self._one("may_make_partitions", bool)),
            missing_partitions=tuple(await self._all("missing_partitions", str)),
            clock_ahead=identity.clock - (before + after) / 2,
            clock_error=(after - before) / 2,
            # The connection itself knows only the host that it ended up at.
            hosts=tuple(str(conninfo_to_dict(url).get("host") or "").split(",")),
            target_session_attrs=parameters.get("target_session_attrs") or "any",
        )

    async def _settings(self, names: Collection[str]) -> dict[str, Setting]:
        found = await self._all("settings", Setting, names=list(names))
        return {setting.name: setting for setting in found}


def _pair(first: float, second: float) -> tuple[float, float]:
    return first, second


def _texts(first: str, second: str) -> tuple[str, str]:
    return first, second
