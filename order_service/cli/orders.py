"""`order-service orders`: orders as the database has them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from typing import Final, TypeVar
from uuid import UUID

import click

from order_service.cli.database import in_database
from order_service.cli.exits import told
from order_service.cli.order_views import (
    event_json,
    explanation_json,
    order_json,
    print_events,
    print_explanation,
    print_order,
    print_orders,
)
from order_service.cli.output import note, print_json, when
from order_service.domain.order import Order
from order_service.domain.status import FINAL_STATUSES, OrderStatus
from order_service.storage.database import Database
from order_service.storage.events import RecordedEvent
from order_service.storage.unit_of_work import UnitOfWork
from order_service.use_cases.explain_order import explain_order
from order_service.use_cases.read_orders import ANY_USER, Wanted, get_order, list_order_events

T = TypeVar("T")

_PAGE: Final = 200
_HISTORY: Final = 1_000
_POLL_SECONDS: Final = 0.1
_SETTLED: Final = FINAL_STATUSES | {OrderStatus.CONFIRMED}
_NEWEST: Final = UUID(int=2**128 - 1)

_as_json = click.option("--json", "as_json", is_flag=True, help="For programs.")


@click.group()
def orders() -> None:
    """Look at orders in the database.

    Needs DATABASE_URL. Sees the orders of all users.
    """


@orders.command("list")
@click.option("--user", default=ANY_USER, help="Only this user's orders.")
@click.option(
    "--status",
    "statuses",
    type=click.Choice([status.value for status in OrderStatus], case_sensitive=False),
    multiple=True,
    help="Only orders with this status; may be given more than once.",
)
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1), help="How many, at most.")
@click.option("--json", "as_json", is_flag=True, help="For programs: one JSON object on each line.")
@told
def list_(user: str, statuses: Collection[str], limit: int, as_json: bool) -> None:
    """List orders, newest first.

    \b
    Example: the ten newest orders that were cancelled
      order-service orders list --status cancelled --limit 10
    """
    wanted = [OrderStatus(status.upper()) for status in statuses] or list(OrderStatus)
    found, more = in_database(lambda database: _newest(database, user, wanted, limit))
    if as_json:
        for order in found:
            print_json(order_json(order))
    elif found:
        print_orders(found)
    else:
        note("no such orders")
    if more and not as_json:
        note(f"there may be more: these are the {limit} newest (--limit)")


@orders.command()
@click.argument("order_id", type=click.UUID)
@_as_json
@told
def show(order_id: UUID, as_json: bool) -> None:
    """Show an order, its items and its history.

    \b
    Example:
      order-service orders show 019aa3c4-6d0e-7a31-9f4e-0f6d3f8a2b11
    """
    order, events = in_database(_reading(lambda work: _with_history(work, order_id)))
    if as_json:
        print_json({**order_json(order), "events": [event_json(event) for event in events]})
        return
    print_order(order)
    click.echo()
    print_events(events)


@orders.command()
@click.argument("order_id", type=click.UUID)
@_as_json
@told
def explain(order_id: UUID, as_json: bool) -> None:
    """Say what an order waits for, and why.

    \b
    Example:
      order-service orders explain 019aa3c4-6d0e-7a31-9f4e-0f6d3f8a2b11
    """
    wanted = Wanted(order_id, ANY_USER)
    explanation = in_database(_reading(lambda work: explain_order(work, wanted)))
    if as_json:
        print_json(explanation_json(explanation))
        return
    click.echo(explanation.sentence)
    print_explanation(explanation)


@orders.command()
@click.argument("order_id", type=click.UUID)
@click.option(
    "--until-settled/--until-final",
    help="End at the outcome of the saga (CONFIRMED, CANCELLED), or (the default) only at a final status.",
)
@click.option("--json", "as_json", is_flag=True, help="For programs: one JSON object on each line.")
@told
def watch(order_id: UUID, until_settled: bool, as_json: bool) -> None:
    """Print each change of an order as it happens.

    What has happened so far comes first. Ctrl-C ends it (exit code 130).

    \b
    Example: wait until an order is confirmed or cancelled
      order-service orders watch 019aa3c4-6d0e-7a31-9f4e-0f6d3f8a2b11 --until-settled
    """
    last = _SETTLED if until_settled else FINAL_STATUSES

    async def follow(database: Database) -> None:
        async for event in _events_of(database, Wanted(order_id, ANY_USER), last):
            if as_json:
                print_json({"order_id": order_id, **event_json(event)})
            else:
                click.echo(f"{when(event.occurred_at)}  {event.version:>3}  {event.status:<11}  {event.type}")

    in_database(follow)


def _reading(query: Callable[[UnitOfWork], Awaitable[T]]) -> Callable[[Database], Awaitable[T]]:
    """A query as of one moment."""

    async def read(database: Database) -> T:
        async with database.snapshot() as unit_of_work:
            return await query(unit_of_work)

    return read


async def _newest(
    database: Database, user: str, statuses: Collection[OrderStatus], limit: int
) -> tuple[list[Order], bool]:
    """The newest orders, and whether there may be more."""
    found: list[Order] = []
    below: UUID | None = _NEWEST
    async with database.read() as unit_of_work:
        while below is not None and len(found) < limit:
            page = await unit_of_work.orders.page(user, statuses, below, min(_PAGE, limit - len(found)))
            found.extend(page.orders)
            below = page.next_below
    return found, below is not None


async def _with_history(unit_of_work: UnitOfWork, order_id: UUID) -> tuple[Order, list[RecordedEvent]]:
    wanted = Wanted(order_id, ANY_USER)
    return await get_order(unit_of_work, wanted), await list_order_events(unit_of_work, wanted, 0, _HISTORY)


async def _events_of(database: Database, wanted: Wanted, last: Collection[OrderStatus]) -> AsyncIterator[RecordedEvent]:
    """An order's history, and what is added to it, until it has come to one of `last` and nothing more follows."""
    seen, status = 0, None
    while True:
        async with database.read() as unit_of_work:
            new = await list_order_events(unit_of_work, wanted, seen, _HISTORY)
        for event in new:
            yield event
            seen, status = event.version, event.status
        if status in last and not new:
            return
        await asyncio.sleep(_POLL_SECONDS)
