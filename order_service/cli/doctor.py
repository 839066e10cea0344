"""`order-service doctor`: whether the servers are set as the promise needs them."""

import asyncio
import os
import sys
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import click

from order_service import bootstrap, config
from order_service.broker.inspection import ManagementFacts, amqp_facts, management_facts
from order_service.cli.exits import FAILED, OK, UNAVAILABLE, told
from order_service.cli.output import note, print_json, print_table
from order_service.cli.quiet import send_logs_nowhere
from order_service.doctor.finding import Finding, Verdict
from order_service.doctor.postgresql import DatabaseFacts, judge_database
from order_service.doctor.rabbitmq import BrokerFacts, judge_broker
from order_service.domain.errors import BrokerUnavailable, OrderServiceError, StorageUnavailable
from order_service.storage import migrations


@dataclass(frozen=True, slots=True)
class _Report:
    """All findings, and whether every server that was named could be reached."""

    findings: tuple[Finding, ...]
    reached: bool

    def those(self, verdict: Verdict) -> list[Finding]:
        return [finding for finding in self.findings if finding.verdict is verdict]


@click.command()
@click.option("--json", "as_json", is_flag=True, help="For programs: one JSON document.")
@told
def doctor(as_json: bool) -> None:
    """Check the settings that the promise rests on.

    Looks at PostgreSQL and RabbitMQ as they are now, changes nothing, and names each setting that is missing, and how
    to set it. Exit code 1 if one is. Needs DATABASE_URL and RABBITMQ_URL; with RABBITMQ_MANAGEMENT_URL (a user with the
    tag administrator) it also checks what AMQP cannot tell. See docs/durability.md.

    \b
    Example: all that is not as it should be
      order-service doctor --json | jq '.checks[] | select(.verdict != "ok")'
    """
    settings = config.read(os.environ, config.WORKER_NEEDS)
    send_logs_nowhere()
    report = asyncio.run(_examine(settings))
    if as_json:
        print_json(_document(report))
    else:
        _print(report)
    sys.exit(_code(report))


async def _examine(settings: config.Settings) -> _Report:
    database, broker = await asyncio.gather(_ask_database(settings), _ask_broker(settings))
    findings = (*judge_database(database, settings.database_pool_size), *judge_broker(broker))
    some_node = any(not place.wrong for place in broker.amqp.places)
    return _Report(findings, reached=not database.unreachable and some_node and not broker.management_wrong)


async def _ask_database(settings: config.Settings) -> DatabaseFacts:
    """Over a session as the service's own, so that what is set for its role and database is seen."""
    schema_wrong = ""
    try:
        await migrations.check(settings.database_url, bootstrap.known_migrations())
    except StorageUnavailable as error:
        return DatabaseFacts(None, unreachable=str(error))
    except OrderServiceError as error:
        schema_wrong = str(error)
    try:
        async with bootstrap.database_of(settings, "doctor") as database, database.read() as work:
            return DatabaseFacts(await work.server.facts(settings.database_url), schema_wrong=schema_wrong)
    except OrderServiceError as error:
        return DatabaseFacts(None, schema_wrong=schema_wrong, read_wrong=str(error))


async def _ask_broker(settings: config.Settings) -> BrokerFacts:
    amqp = await amqp_facts(settings.rabbitmq_urls)
    known: ManagementFacts | None = None
    if settings.rabbitmq_management_url and amqp.queues is not None:
        try:
            known = await management_facts(settings.rabbitmq_management_url, settings.rabbitmq_urls[0])
        except BrokerUnavailable as error:
            return BrokerFacts(amqp, management_wrong=str(error))
    return BrokerFacts(amqp, known)


def _code(report: _Report) -> int:
    if not report.reached:
        return UNAVAILABLE
    return FAILED if report.those(Verdict.MISSING) else OK


def _print(report: _Report) -> None:
    rows = [(one.verdict.value, one.server, one.check, one.found, one.wanted) for one in report.findings]
    print_table(("VERDICT", "SERVER", "CHECK", "FOUND", "WANTED"), rows)
    for verdict in (Verdict.MISSING, Verdict.ADVICE, Verdict.NOT_CHECKED):
        _print_how(verdict, report.those(verdict))
    missing = report.those(Verdict.MISSING)
    note(f"{len(missing)} missing, {len(report.those(Verdict.ADVICE))} advised, {len(report.findings)} checks")


def _print_how(verdict: Verdict, findings: Collection[Finding]) -> None:
    if findings:
        click.echo(f"\n{verdict.value}:")
        for one in findings:
            click.echo(f"  {one.server}, {one.check}: {one.how}")


def _document(report: _Report) -> dict[str, Any]:
    """These names are a contract with programs: add, never change."""
    return {
        "ok": _code(report) == OK,
        "reached": report.reached,
        "missing": [f"{one.server}: {one.check}" for one in report.those(Verdict.MISSING)],
        "checks": [
            {
                "server": one.server,
                "check": one.check,
                "found": one.found,
                "wanted": one.wanted,
                "verdict": one.verdict.value,
                "how": one.how,
            }
            for one in report.findings
        ],
    }
