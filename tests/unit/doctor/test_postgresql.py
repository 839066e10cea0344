"""What is made of what PostgreSQL says about itself."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from order_service.doctor.finding import Finding, Verdict
from order_service.doctor.postgresql import DatabaseFacts, judge_database
from order_service.doctor.postgresql_role import lacking_rights
from order_service.storage.server import Identity, ServerFacts, Setting, TableRights

GOOD = {
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "synchronous_standby_names": "ANY 1 (a, b)",
    "data_checksums": "on",
    "wal_level": "replica",
    "wal_sync_method": "fdatasync",
    "max_connections": "100",
    "superuser_reserved_connections": "3",
    "statement_timeout": "5000",
    "lock_timeout": "5000",
    "idle_in_transaction_session_timeout": "10000",
    "autovacuum": "on",
    "track_counts": "on",
}


def settings(source: str = "configuration file", **changes: str) -> Mapping[str, Setting]:
    return {name: Setting(name, value, value, source) for name, value in {**GOOD, **changes}.items()}


FACTS = ServerFacts(
    identity=Identity(150_018, False, "app", superuser=False, sees_all=True, tls=True, clock=0.0),
    settings=settings(),
    standbys=(("a", "quorum"),),
    idle_slots=(),
    oldest_prepared=0.0,
    oldest_transaction=1.0,
    rights=(TableRights("outbox", True, True, True, True),),
    may_make_partitions=True,
    missing_partitions=(),
    clock_ahead=0.01,
    clock_error=0.001,
    hosts=("db-1", "db-2"),
    target_session_attrs="read-write",
)
IDENTITY = FACTS.identity


def judged(facts: ServerFacts | None, pool_size: int = 10, **more: str) -> list[Finding]:
    return judge_database(DatabaseFacts(facts, **more), pool_size)


def off(findings: list[Finding]) -> dict[str, Verdict]:
    """What is not as it should be."""
    return {finding.check: finding.verdict for finding in findings if finding.verdict is not Verdict.OK}


def test_all_is_well() -> None:
    findings = judged(FACTS)

    assert off(findings) == {}
    assert len({finding.check for finding in findings}) == len(findings)


@pytest.mark.parametrize(
    ("name", "value", "verdict"),
    [
        ("fsync", "off", Verdict.MISSING),
        ("full_page_writes", "off", Verdict.MISSING),
        ("synchronous_commit", "off", Verdict.MISSING),
        ("synchronous_commit", "local", Verdict.MISSING),
        ("synchronous_commit", "remote_write", Verdict.MISSING),
        ("autovacuum", "off", Verdict.MISSING),
        ("track_counts", "off", Verdict.MISSING),
        ("wal_sync_method", "hope", Verdict.MISSING),
        ("synchronous_standby_names", "", Verdict.ADVICE),
        ("data_checksums", "off", Verdict.ADVICE),
        ("wal_level", "minimal", Verdict.ADVICE),
        ("max_connections", "22", Verdict.ADVICE),
        ("statement_timeout", "0", Verdict.ADVICE),
        ("lock_timeout", "0", Verdict.ADVICE),
        ("idle_in_transaction_session_timeout", "0", Verdict.ADVICE),
    ],
)
def test_a_setting_that_is_off_is_named(name: str, value: str, verdict: Verdict) -> None:
    found = off(judged(replace(FACTS, settings=settings(**{name: value}))))

    assert found == {name: verdict}


def test_a_commit_that_waits_for_a_standby_to_apply_it_is_enough() -> None:
    assert off(judged(replace(FACTS, settings=settings(synchronous_commit="remote_apply")))) == {}


@pytest.mark.parametrize("source", ["user", "database", "database user", "client", "configuration file"])
def test_where_a_setting_comes_from_says_how_to_mend_it(source: str) -> None:
    findings = judged(replace(FACTS, settings=settings(source, synchronous_commit="off")))

    (how,) = {finding.how for finding in findings if finding.check == "synchronous_commit"}
    assert {
        "user": "alter role app reset",
        "database": "alter database ... reset",
        "database user": "alter role app in database ... reset",
        "client": "DATABASE_URL",
    }.get(source, "alter system set") in how


@pytest.mark.parametrize(
    ("change", "check", "verdict"),
    [
        ({"identity": replace(IDENTITY, in_recovery=True)}, "primary", Verdict.MISSING),
        ({"identity": replace(IDENTITY, version=130_010)}, "version", Verdict.MISSING),
        ({"identity": replace(IDENTITY, superuser=True)}, "role", Verdict.ADVICE),
        ({"identity": replace(IDENTITY, tls=False)}, "tls", Verdict.ADVICE),
        ({"target_session_attrs": "any"}, "target_session_attrs", Verdict.MISSING),
        ({"standbys": ()}, "synchronous standby", Verdict.MISSING),
        ({"standbys": (("a", "async"), ("b", "potential"))}, "synchronous standby", Verdict.MISSING),
        ({"idle_slots": (("old", "reserved"),)}, "idle replication slots", Verdict.ADVICE),
        ({"oldest_prepared": 301.0}, "oldest prepared transaction", Verdict.ADVICE),
        ({"oldest_transaction": 301.0}, "oldest transaction", Verdict.ADVICE),
        ({"rights": (TableRights("outbox", True, True, True, False),)}, "rights on tables", Verdict.MISSING),
        ({"rights": ()}, "rights on tables", Verdict.MISSING),
        ({"may_make_partitions": False}, "right to make partitions", Verdict.MISSING),
        ({"missing_partitions": ("order_events_2026_12",)}, "partitions of this month and the next", Verdict.MISSING),
        ({"clock_ahead": -1.5}, "clock", Verdict.ADVICE),
    ],
)
def test_what_is_not_as_it_should_be_is_named(change: dict[str, Any], check: str, verdict: Verdict) -> None:
    findings = judged(replace(FACTS, **change))

    assert off(findings) == {check: verdict}
    assert all(finding.how for finding in findings if finding.verdict is not Verdict.OK)


def test_one_machine_alone_is_advised_to_have_a_standby() -> None:
    alone = replace(FACTS, settings=settings(synchronous_standby_names=""), standbys=())

    assert off(judged(alone)) == dict.fromkeys(["synchronous_standby_names", "synchronous standby"], Verdict.ADVICE)


def test_a_clock_that_was_read_too_slowly_is_not_blamed() -> None:
    assert off(judged(replace(FACTS, clock_ahead=1.5, clock_error=0.6))) == {}


@pytest.mark.parametrize("hosts", [("localhost",), ("/run/postgresql",), ("",)])
def test_one_machine_needs_no_tls_and_one_host_no_attributes(hosts: tuple[str, ...]) -> None:
    facts = replace(FACTS, identity=replace(IDENTITY, tls=False), hosts=hosts, target_session_attrs="any")

    assert off(judged(facts)) == {}


def test_what_the_role_may_not_see_is_not_checked() -> None:
    facts = replace(FACTS, identity=replace(IDENTITY, sees_all=False), standbys=(("", ""),))

    assert off(judged(facts)) == dict.fromkeys(["synchronous standby", "oldest transaction"], Verdict.NOT_CHECKED)


def test_a_server_that_cannot_be_reached_is_all_that_is_said() -> None:
    assert off(judged(None, unreachable="refused")) == {"reachable": Verdict.MISSING}


def test_a_schema_that_is_not_current_is_named_with_the_way_out() -> None:
    findings = judged(FACTS, schema_wrong="the database lacks 0002.sql: run 'order-service migrate'")

    assert {(finding.check, finding.how) for finding in findings if finding.verdict is Verdict.MISSING} == {
        ("schema", "order-service migrate")
    }


def test_a_server_that_could_not_be_read_is_not_well() -> None:
    assert off(judged(None, read_wrong="permission denied")) == {"settings": Verdict.NOT_CHECKED}


@pytest.mark.parametrize(
    ("table", "lacking"), [("orders", []), ("outbox", ["delete"]), ("a_table_of_tomorrow", ["delete"])]
)
def test_each_table_needs_rights_of_its_own(table: str, lacking: list[str]) -> None:
    assert lacking_rights(TableRights(table, True, True, True, False)) == lacking
