"""`order-service events`: the history of all orders."""

import asyncio
import os
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import click

from order_service import config
from order_service.broker.existing_queue import QueueMissing
from order_service.cli.arguments import time_argument
from order_service.cli.database import with_database
from order_service.cli.exits import FAILED, INTERRUPTED, OK, UNAVAILABLE, USAGE, fail, told
from order_service.cli.output import print_json, print_table
from order_service.cli.replaying import EVERYBODY, Destination, Replay, only_to
from order_service.domain.errors import OrderServiceError, ServiceUnavailable
from order_service.domain.events import EventType
from order_service.storage.database import Database
from order_service.storage.events import ReplayRange
from order_service.use_cases.replay_events import count_events

_READ_TIMEOUT: Final = timedelta(seconds=60)
"""A page of a long history may take longer than what an order's path allows for a statement."""


@click.group()
def events() -> None:
    """Publish events of the past again."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a replay ended: the exit code, and what went wrong."""

    code: int
    wrong: str = ""


@events.command("replay")
@click.option(
    "--from",
    "from_time",
    callback=time_argument,
    metavar="TIME",
    required=True,
    help="Events from this time on, in UTC.",
)
@click.option(
    "--until",
    "until_time",
    callback=time_argument,
    metavar="TIME",
    help="Only events before this time.  [default: now]",
)
@click.option(
    "--type",
    "types",
    type=click.Choice([type.value for type in EventType]),
    multiple=True,
    help="Only events of this type; may be given more than once.",
)
@click.option("--queue", metavar="NAME", help="To this queue only. It must be there.")
@click.option("--exchange", is_flag=True, help="To everybody who listens to order.events, once more.")
@click.option("--dry-run", is_flag=True, help="Only say how many there are; needs no RabbitMQ.")
@click.option("--yes", is_flag=True, help="Do not ask before publishing to everybody.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@told
def replay_(
    from_time: datetime,
    until_time: datetime | None,
    types: Collection[str],
    queue: str | None,
    exchange: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Publish a part of the history again.

    The events keep their message ids, and each order's come in version order. For a queue that joined late: declare it,
    bind it to order.events, and then replay up to now. What happens meanwhile reaches it by its binding; an event may
    come twice, under the same id. Needs DATABASE_URL and RABBITMQ_URL.

    When the connection is lost (exit code 3) it says where to go on with --from.

    \b
    Example: what the queue "invoices" missed in January
      order-service events replay --from 2026-01-01 --until 2026-02-01 \\
        --type order.confirmed --type order.cancelled --queue invoices
    """
    wanted = _range(from_time, until_time or datetime.now(UTC), types)
    if dry_run:
        _tell_counts(_count(wanted), as_json)
        return
    if bool(queue) == exchange:
        raise click.UsageError("say where to: --queue NAME, or --exchange")
    if exchange and not yes:
        _ask()
    _replay(wanted, only_to(queue) if queue else EVERYBODY, as_json)


def _range(from_time: datetime, until_time: datetime, types: Collection[str]) -> ReplayRange:
    if from_time >= until_time:
        raise click.UsageError("--from must be before --until")
    return ReplayRange(from_time, until_time, [EventType(type) for type in types] or list(EventType))


def _ask() -> None:
    """A product service that does not know repeated messages takes the stock of every order.created again."""
    if not sys.stdin.isatty():
        fail("--exchange reaches everybody a second time and there is no terminal to ask on: give --yes", USAGE)
    if not click.confirm("Every listener gets these events a second time, the product service too. Go on?", err=True):
        fail("nothing was published", FAILED)


def _count(wanted: ReplayRange) -> Mapping[EventType, int]:
    settings = _patient(config.read(os.environ, config.API_NEEDS))
    return asyncio.run(with_database(settings, lambda database: _counted(database, wanted)))


async def _counted(database: Database, wanted: ReplayRange) -> Mapping[EventType, int]:
    async with database.read() as unit_of_work:
        return await count_events(unit_of_work, wanted)


def _tell_counts(counts: Mapping[EventType, int], as_json: bool) -> None:
    total = sum(counts.values())
    if as_json:
        print_json({"total": total, "by_type": dict(sorted(counts.items()))})
        return
    rows = [(type.value, str(count)) for type, count in sorted(counts.items())]
    print_table(("EVENT", "TO PUBLISH"), [*rows, ("all", str(total))])


def _replay(wanted: ReplayRange, destination: Destination, as_json: bool) -> None:
    settings = _patient(config.read(os.environ, config.WORKER_NEEDS))
    total = sum(_count(wanted).values())
    with click.progressbar(length=total, label="replaying", file=sys.stderr, hidden=not sys.stderr.isatty()) as bar:
        replay = Replay(wanted, destination, bar.update)
        ended = _ended(lambda: asyncio.run(with_database(settings, lambda db: replay.run(db, settings.rabbitmq_urls))))
    document = _document(replay, wanted, total, complete=not ended.wrong)
    if as_json:
        print_json(document)
    if ended.wrong:
        go_on = f"; published {replay.published} of {total}, go on with --from {document['resume_from']}"
        fail(ended.wrong + (go_on if replay.published or ended.code != USAGE else ""), ended.code)
    if not as_json:
        click.echo(f"published {replay.published} of {total} events")
    if replay.unheard:
        fail(f"{replay.unheard} events had no listener", FAILED)


def _patient(settings: config.Settings) -> config.Settings:
    return replace(settings, database_timeout=max(settings.database_timeout, _READ_TIMEOUT))


def _ended(run: Callable[[], None]) -> Ended:
    try:
        run()
    except QueueMissing as error:
        return Ended(USAGE, str(error))
    except ServiceUnavailable as error:
        return Ended(UNAVAILABLE, str(error))
    except OrderServiceError as error:
        return Ended(FAILED, str(error))
    except KeyboardInterrupt:
        return Ended(INTERRUPTED, "interrupted")
    return Ended(OK)


def _document(replay: Replay, wanted: ReplayRange, total: int, complete: bool) -> dict[str, Any]:
    """These names are a contract with programs: add, never change."""
    return {
        "complete": complete,
        "total": total,
        "published": replay.published,
        "unheard": replay.unheard,
        "from": wanted.from_time,
        "until": wanted.until_time,
        "resume_from": None if complete else replay.reached.astimezone(UTC).isoformat().replace("+00:00", "Z"),
    }
