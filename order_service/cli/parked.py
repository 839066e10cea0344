"""`order-service parked`: messages that could not be handled or sent, for an operator to decide about."""

import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import click

from order_service.cli.database import in_database
from order_service.cli.exits import FAILED, USAGE, fail, told
from order_service.cli.output import note, print_json
from order_service.cli.parked_views import parked_json, print_body, print_parked, print_parked_list
from order_service.storage.database import Database
from order_service.storage.parked_messages import ParkedMessage
from order_service.storage.unit_of_work import UnitOfWork
from order_service.use_cases.handle_parked_messages import (
    ParkedMessageNotFound,
    discard_parked,
    redrive_parked,
    show_parked,
)

Action = Callable[[UnitOfWork, int], Awaitable[ParkedMessage]]

_PAGE: Final = 500


@click.group()
def parked() -> None:
    """Look after messages that could not be handled.

    Replies that are not understood or whose order is unknown, and events that nobody takes. Each is kept until it is
    redriven with success, or discarded. Needs DATABASE_URL.
    """


@parked.command("list")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1), help="How many, at most.")
@click.option("--json", "as_json", is_flag=True, help="For programs: one JSON object on each line.")
@told
def list_(limit: int, as_json: bool) -> None:
    """List parked messages, oldest first.

    \b
    Example:
      order-service parked list --limit 10
    """
    found = in_database(lambda database: _oldest(database, limit + 1))
    if as_json:
        for message in found[:limit]:
            print_json(parked_json(message))
    elif found:
        print_parked_list(found[:limit])
    else:
        note("nothing is parked")
    if len(found) > limit and not as_json:
        note(f"there are more: these are the {limit} oldest (--limit)")


@parked.command()
@click.argument("parked_id", type=int)
@click.option("--full", is_flag=True, help="The whole body, however long.")
@click.option("--json", "as_json", is_flag=True, help="For programs; always with the whole body.")
@told
def show(parked_id: int, full: bool, as_json: bool) -> None:
    """Show a parked message, its headers and its body.

    \b
    Example:
      order-service parked show 17
    """
    message = in_database(lambda database: database.run(lambda work: show_parked(work, parked_id)))
    if as_json:
        print_json(parked_json(message, whole=True))
        return
    print_parked(message)
    print_body(message.body, full)


@parked.command()
@click.argument("parked_ids", type=int, nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All that wait for an operator.")
@click.option("--reason-code", help="With --all: only those parked for this reason, such as UNKNOWN_ORDER.")
@click.option("--json", "as_json", is_flag=True, help="For programs: one JSON object on each line.")
@told
def redrive(parked_ids: Sequence[int], everything: bool, reason_code: str | None, as_json: bool) -> None:
    """Have a worker try parked messages again.

    A reply is handled, an event is published; what fails again is parked again. Exit code 1 if one of them is not there
    any more.

    \b
    Example: after the cause was mended
      order-service parked redrive --all --reason-code UNREADABLE
    """
    if bool(parked_ids) == everything:
        raise click.UsageError("name the messages to redrive, or give --all")
    if reason_code and not everything:
        raise click.UsageError("--reason-code goes with --all")

    async def carry_out(database: Database) -> list[tuple[int, bool]]:
        chosen = parked_ids or await _waiting(database, reason_code)
        return await _each(database, chosen, redrive_parked, "redriving")

    _tell(in_database(carry_out), "redriven", as_json)


@parked.command()
@click.argument("parked_ids", type=int, nargs=-1, required=True)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="For programs: one JSON object on each line.")
@told
def discard(parked_ids: Sequence[int], yes: bool, as_json: bool) -> None:
    """Forget parked messages for good, after asking.

    An event stays in its order's history and is not sent; the order's later events are. Exit code 1 if one of them is
    not there any more.

    \b
    Example:
      order-service parked discard 17 18 --yes
    """
    if not yes:
        _ask(len(parked_ids))
    outcomes = in_database(lambda database: _each(database, parked_ids, discard_parked, "discarding"))
    _tell(outcomes, "discarded", as_json)


def _ask(count: int) -> None:
    if not sys.stdin.isatty():
        fail("discarding is for good and there is no terminal to ask on: give --yes", USAGE)
    if not click.confirm(f"Discard {count} parked message{'s' if count > 1 else ''} for good?", err=True):
        fail("nothing was discarded", FAILED)


async def _oldest(database: Database, limit: int) -> list[ParkedMessage]:
    found: list[ParkedMessage] = []
    async with database.read() as unit_of_work:
        while len(found) < limit:
            above = found[-1].parked_id if found else 0
            page = await unit_of_work.parked.page(above, min(_PAGE, limit - len(found)))
            if not page:
                break
            found.extend(page)
    return found


async def _waiting(database: Database, reason_code: str | None) -> list[int]:
    """All that wait for an operator now, those that are retried by themselves left out."""
    return [
        message.parked_id
        for message in await _oldest(database, sys.maxsize)
        if message.retry_at is None and reason_code in (None, message.reason_code)
    ]


async def _each(database: Database, parked_ids: Sequence[int], action: Action, label: str) -> list[tuple[int, bool]]:
    """Each message by itself, so that one that is gone stops no other; and whether it was there."""
    outcomes = []
    with click.progressbar(parked_ids, label=label, file=sys.stderr, hidden=not sys.stderr.isatty()) as bar:
        for parked_id in bar:
            outcomes.append((parked_id, await _one(database, parked_id, action)))
    return outcomes


async def _one(database: Database, parked_id: int, action: Action) -> bool:
    try:
        await database.run(lambda work: action(work, parked_id))
    except ParkedMessageNotFound:
        return False
    return True


def _tell(outcomes: Sequence[tuple[int, bool]], done: str, as_json: bool) -> None:
    missing = [str(parked_id) for parked_id, was_there in outcomes if not was_there]
    if as_json:
        for parked_id, was_there in outcomes:
            print_json({"parked_id": parked_id, "outcome": done if was_there else "not_found"})
    else:
        click.echo(f"{done}: {len(outcomes) - len(missing)}")
    if missing:
        fail(f"there is no parked message {', '.join(missing)}", FAILED)
