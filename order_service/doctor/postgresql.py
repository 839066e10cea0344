"""Judges PostgreSQL: who answers, who else keeps what was committed, and what this role may do."""

from dataclasses import dataclass
from typing import Final

from order_service.doctor.finding import Finding, listed
from order_service.doctor.postgresql_role import judge_role
from order_service.doctor.postgresql_settings import POSTGRESQL, judge_settings
from order_service.storage.server import ServerFacts

OLDEST_VERSION: Final = 15
_LONGEST_TRANSACTION: Final = 300.0
_LARGEST_SKEW: Final = 1.0
_LOOPBACK: Final = ("", "localhost", "127.0.0.1", "::1")
_SYNCHRONOUS: Final = ("sync", "quorum")


@dataclass(frozen=True, slots=True)
class DatabaseFacts:
    """What was read. `schema_wrong` and `read_wrong` are empty if the schema is current and the server could be read;
    `unreachable` says why it could not."""

    server: ServerFacts | None
    unreachable: str = ""
    schema_wrong: str = ""
    read_wrong: str = ""


def judge_database(facts: DatabaseFacts, pool_size: int) -> list[Finding]:
    """One finding for each check; only one if PostgreSQL cannot be reached."""
    reached = POSTGRESQL.missing_unless(
        not facts.unreachable,
        "reachable",
        facts.unreachable or "yes",
        "yes",
        "start it, or correct DATABASE_URL; nothing else of it was checked",
    )
    if facts.unreachable:
        return [reached]
    findings = [reached, _schema(facts.schema_wrong)]
    if facts.server is None:
        return [*findings, POSTGRESQL.not_checked("settings", facts.read_wrong, "readable", "see what refuses them")]
    server = facts.server
    return [
        *findings,
        *_who_answers(server),
        *judge_settings(server.settings, pool_size, server.identity.role),
        *_who_else_keeps_it(server),
        *_what_holds_vacuum(server),
        *judge_role(server),
        _partitions(server),
        _clock(server),
    ]


def _schema(wrong: str) -> Finding:
    how = "order-service migrate" if "lacks" in wrong else "grant what docs/operations.md says, or mend what it names"
    return POSTGRESQL.missing_unless(not wrong, "schema", wrong or "up to date", "up to date", how)


def _who_answers(server: ServerFacts) -> list[Finding]:
    identity = server.identity
    version = f"{identity.version // 10_000}.{identity.version % 10_000}"
    local = all(host in _LOOPBACK or host.startswith("/") for host in server.hosts)
    only_primary = len(server.hosts) < 2 or server.target_session_attrs in ("read-write", "primary")
    return [
        POSTGRESQL.missing_unless(
            identity.version >= OLDEST_VERSION * 10_000, "version", version, f"{OLDEST_VERSION} or newer", "upgrade it"
        ),
        POSTGRESQL.missing_unless(
            not identity.in_recovery,
            "primary",
            "a standby" if identity.in_recovery else "yes",
            "yes",
            "name all hosts in DATABASE_URL, with target_session_attrs=read-write",
        ),
        POSTGRESQL.missing_unless(
            only_primary,
            "target_session_attrs",
            f"{server.target_session_attrs}, {len(server.hosts)} host{'s' if len(server.hosts) > 1 else ''}",
            "read-write if there are several hosts",
            "add target_session_attrs=read-write to DATABASE_URL, or a standby may be taken for the primary",
        ),
        POSTGRESQL.advice_unless(
            identity.tls or local,
            "tls",
            "in use" if identity.tls else "not in use",
            "in use, unless on one machine",
            "ssl = on at the server, sslmode=verify-full in DATABASE_URL",
        ),
    ]


def _who_else_keeps_it(server: ServerFacts) -> list[Finding]:
    return [_standby_names(server), _standbys(server), _slots(server)]


def _standby_names(server: ServerFacts) -> Finding:
    setting = server.settings.get("synchronous_standby_names")
    names = setting.text if setting else ""
    return POSTGRESQL.advice_unless(
        bool(names),
        "synchronous_standby_names",
        names or "empty",
        "at least one, such as 'ANY 1 (a, b)'",
        "set it once standbys are connected; until then what is lost with this machine's disk is lost",
    )


def _standbys(server: ServerFacts) -> Finding:
    wanted = "at least one that is synchronous"
    if server.standbys and not server.identity.sees_all:
        how = f"grant pg_monitor to {server.identity.role}"
        return POSTGRESQL.not_checked("synchronous standby", "may not be seen", wanted, how)
    states = listed(f"{name} ({state})" for name, state in server.standbys)
    good = any(state in _SYNCHRONOUS for _, state in server.standbys)
    setting = server.settings.get("synchronous_standby_names")
    if setting and setting.text:
        how = "connect one that is named: until then every commit waits for it, and no order is taken"
        return POSTGRESQL.missing_unless(good, "synchronous standby", states, wanted, how)
    how = "connect one: until then nothing covers the loss of this machine or its disk"
    return POSTGRESQL.advice_unless(good, "synchronous standby", states, wanted, how)


def _slots(server: ServerFacts) -> Finding:
    found = listed(f"{name} ({state or 'idle'})" for name, state in server.idle_slots)
    how = "bring its reader back, or drop it: it keeps WAL until the disk is full"
    return POSTGRESQL.advice_unless(not server.idle_slots, "idle replication slots", found, "none", how)


def _what_holds_vacuum(server: ServerFacts) -> list[Finding]:
    wanted = f"less than {_LONGEST_TRANSACTION:.0f} s"
    prepared = POSTGRESQL.advice_unless(
        server.oldest_prepared < _LONGEST_TRANSACTION,
        "oldest prepared transaction",
        f"{server.oldest_prepared:.0f} s",
        wanted,
        "see pg_prepared_xacts, then commit prepared or rollback prepared: until then vacuum removes nothing",
    )
    check = "oldest transaction"
    if not server.identity.sees_all:
        how = f"grant pg_monitor to {server.identity.role}"
        return [prepared, POSTGRESQL.not_checked(check, "others' may not be seen", wanted, how)]
    return [
        prepared,
        POSTGRESQL.advice_unless(
            server.oldest_transaction < _LONGEST_TRANSACTION,
            check,
            f"{server.oldest_transaction:.0f} s",
            wanted,
            "see pg_stat_activity, then pg_terminate_backend: until then vacuum removes nothing, and the outbox bloats",
        ),
    ]


def _partitions(server: ServerFacts) -> Finding:
    return POSTGRESQL.missing_unless(
        not server.missing_partitions,
        "partitions of this month and the next",
        f"lacks {listed(server.missing_partitions)}" if server.missing_partitions else "there",
        "there",
        "run a worker with timers, or: select order_service.ensure_partitions(3)",
    )


def _clock(server: ServerFacts) -> Finding:
    skew, error = server.clock_ahead, server.clock_error
    how = "run chrony or systemd-timesyncd on both machines: times of orders come from here, deadlines from there"
    found = f"{skew:+.3f} s, give or take {error:.3f} s"
    return POSTGRESQL.advice_unless(
        abs(skew) - error < _LARGEST_SKEW, "clock", found, f"within {_LARGEST_SKEW:.0f} s of this machine's", how
    )
