"""Judges how PostgreSQL is set."""

from collections.abc import Mapping
from typing import Final

from order_service.doctor.finding import Finding, Server
from order_service.storage.server import Setting

POSTGRESQL: Final = Server("PostgreSQL")

_DURABLE_COMMIT: Final = ("on", "remote_apply")
_SYNC_METHODS: Final = ("fdatasync", "fsync", "fsync_writethrough", "open_datasync", "open_sync")
_PROCESSES: Final = 2
_SESSION_LIMITS: Final = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
_NOWHERE: Final = Setting("", "unknown", "", "unknown")


def judge_settings(settings: Mapping[str, Setting], pool_size: int, role: str) -> list[Finding]:
    """One finding for each setting; `pool_size` is that of one process."""
    return [
        _switch(settings, "fsync", "a crash of the machine may corrupt or lose everything"),
        _switch(settings, "full_page_writes", "a page that was half written in a crash stays corrupt"),
        _synchronous_commit(settings.get("synchronous_commit", _NOWHERE), role),
        _switch(settings, "autovacuum", "the outbox bloats, and transaction ids run out"),
        _switch(settings, "track_counts", "autovacuum does not know what to vacuum"),
        _checksums(settings.get("data_checksums", _NOWHERE)),
        _wal_level(settings.get("wal_level", _NOWHERE)),
        _wal_sync_method(settings.get("wal_sync_method", _NOWHERE)),
        _connections(settings, pool_size),
        *(_session_limit(settings.get(name, _NOWHERE), role) for name in _SESSION_LIMITS),
    ]


def _switch(settings: Mapping[str, Setting], name: str, otherwise: str) -> Finding:
    found = settings.get(name, _NOWHERE)
    how = f"alter system set {name} = on; select pg_reload_conf() (off: {otherwise})"
    return POSTGRESQL.missing_unless(found.value == "on", name, _with_source(found), "on", how)


def _synchronous_commit(found: Setting, role: str) -> Finding:
    good = found.value in _DURABLE_COMMIT
    where = {
        "user": f"alter role {role} reset synchronous_commit",
        "database": "alter database ... reset synchronous_commit",
        "database user": f"alter role {role} in database ... reset synchronous_commit",
        "client": "take it out of the options in DATABASE_URL and of PGOPTIONS",
    }.get(found.source, "alter system set synchronous_commit = on; select pg_reload_conf()")
    how = f"{where} (else a crash loses orders that were acknowledged)"
    return POSTGRESQL.missing_unless(good, "synchronous_commit", _with_source(found), "on or remote_apply", how)


def _with_source(found: Setting) -> str:
    return found.text if found.source in ("default", "configuration file") else f"{found.text} ({found.source})"


def _checksums(found: Setting) -> Finding:
    how = "pg_checksums --enable, with the server stopped: a rotten page is then noticed when it is read"
    return POSTGRESQL.advice_unless(found.value == "on", "data_checksums", found.text, "on", how)


def _wal_level(found: Setting) -> Finding:
    how = "alter system set wal_level = replica; restart: without it there is no standby and no archive"
    good = found.value in ("replica", "logical")
    return POSTGRESQL.advice_unless(good, "wal_level", found.text, "replica or logical", how)


def _wal_sync_method(found: Setting) -> Finding:
    how = "alter system reset wal_sync_method; select pg_reload_conf()"
    return POSTGRESQL.missing_unless(
        found.value in _SYNC_METHODS, "wal_sync_method", found.text, "one that pg_test_fsync knows here", how
    )


def _connections(settings: Mapping[str, Setting], pool_size: int) -> Finding:
    most = _number(settings.get("max_connections", _NOWHERE))
    free = most - _number(settings.get("superuser_reserved_connections", _NOWHERE))
    wanted = f"at least {_PROCESSES * pool_size} (an api and a worker of DATABASE_POOL_SIZE {pool_size})"
    how = "raise max_connections and restart, lower DATABASE_POOL_SIZE, or put PgBouncer in between"
    found = f"{free} for everybody"
    return POSTGRESQL.advice_unless(free >= _PROCESSES * pool_size, "max_connections", found, wanted, how)


def _session_limit(found: Setting, role: str) -> Finding:
    how = f"alter role {role} set {found.name or 'it'} = '10s': a pooler ignores the limit that the service asks for"
    return POSTGRESQL.advice_unless(_number(found) > 0, found.name or "session limit", found.text, "above 0", how)


def _number(setting: Setting) -> int:
    return int(setting.value) if setting.value.lstrip("-").isdigit() else 0
