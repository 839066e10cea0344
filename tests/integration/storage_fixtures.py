"""A database opened as the service opens it, orders to fill it with, and what became of them."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
from uuid_utils.compat import uuid7

from order_service.domain.errors import RequestIdReused
from order_service.domain.events import OrderConfirmed, OrderCreated, OrderEvent
from order_service.domain.money import Money
from order_service.domain.order import Item, NewOrder, Order, Reason
from order_service.domain.status import Actor, OrderStatus, ReasonCode
from order_service.saga.engine import CancelRequested, DeadlinePassed, ReplyReceived, Stimulus
from order_service.saga.order_saga import STEPS, StepName
from order_service.storage.database import Database
from order_service.storage.unit_of_work import UnitOfWork
from order_service.use_cases.advance_sagas import SagaRules
from order_service.use_cases.apply_replies import Reply, apply_replies
from order_service.use_cases.cancel_order import Cancellation, cancel_order
from order_service.use_cases.create_orders import OrderToCreate, Result, create_orders
from order_service.use_cases.expire_sagas import expire_sagas
from tests.integration.platform import Platform

TIMEOUTS = {StepName.STOCK: timedelta(seconds=60)}
WITH_PAYMENT = {**TIMEOUTS, StepName.PAYMENT: timedelta(seconds=90)}
RULES = SagaRules(TIMEOUTS, uuid7)
PAYMENT_RULES = SagaRules(WITH_PAYMENT, uuid7)
SOURCES = {step.name: step.answered_by for step in STEPS.values()}

ITEMS = (Item("cup", 1, Money("USD", 350)), Item("tea", 2, Money("USD", 1999)))
TOTAL = Money("USD", 4348)


@asynccontextmanager
async def opened(url: str, connections: int = 10, seconds: float = 30.0) -> AsyncIterator[Database]:
    """A database, closed at the end."""
    database = Database(url, connections, timedelta(seconds=seconds), "order-service tests")
    await database.open()
    try:
        yield database
    finally:
        await database.close()


@asynccontextmanager
async def session(url: str, **options: Any) -> AsyncIterator["psycopg.AsyncConnection[tuple[Any, ...]]"]:
    """A connection of the test's own, in autocommit mode."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True, **options) as connection:
        yield connection


def ask(
    user_id: str = "ada",
    request_id: str = "",
    items: Sequence[Item] = ITEMS,
    fingerprint: str = "",
    traceparent: str = "",
) -> OrderToCreate:
    """An order to create, under ids of its own."""
    total = Money(items[0].unit_price.currency, sum(item.quantity * item.unit_price.minor for item in items))
    new = NewOrder(user_id, tuple(items), total, request_id, fingerprint or f"{len(items)} items" if request_id else "")
    return OrderToCreate(new, uuid7(), uuid7(), datetime.now(UTC), traceparent)


def again(asked: OrderToCreate, fingerprint: str = "") -> OrderToCreate:
    """The same request once more, as it comes the second time: under new ids."""
    new = replace(asked.new, fingerprint=fingerprint or asked.new.fingerprint)
    return OrderToCreate(new, uuid7(), uuid7(), datetime.now(UTC))


async def create(
    database: Database, *asked: OrderToCreate, timeouts: Mapping[StepName, timedelta] = TIMEOUTS
) -> list[tuple[Result, bool]]:
    """Creates orders in one transaction."""
    return await database.run(lambda work: create_orders(work, asked, timeouts))


async def created(database: Database, count: int, timeouts: Mapping[StepName, timedelta] = TIMEOUTS) -> list[UUID]:
    """New orders, by id."""
    asked = [ask() for _ in range(count)]
    await create(database, *asked, timeouts=timeouts)
    return [one.order_id for one in asked]


def order_of(result: Result) -> Order:
    """The order, if it is one."""
    assert not isinstance(result, RequestIdReused)
    return result


def reply(order_id: UUID, success: bool = True, reason: str = "", step: StepName = StepName.STOCK) -> Reply:
    """A reply under a key of its own."""
    return Reply(uuid7(), order_id, ReplyReceived(step, success, reason))


async def stimulate(work: UnitOfWork, order_id: UUID, stimulus: Stimulus, rules: SagaRules = RULES) -> None:
    """Lets something happen to an order through the use case that it comes through."""
    match stimulus:
        case ReplyReceived(step):
            await apply_replies(work, SOURCES[step], [Reply(uuid7(), order_id, stimulus)], rules)
        case DeadlinePassed():
            await expire_sagas(work, [order_id], rules)
        case CancelRequested(reason):
            await cancel_order(work, Cancellation(order_id, Actor.STAFF, "", reason.text), rules)


async def make_due(platform: Platform, order_ids: Sequence[UUID]) -> None:
    """Lets the deadlines of sagas be now."""
    await platform.query(
        "update order_service.sagas set deadline_at = now() where order_id = any(%s) and deadline_at is not null",
        list(order_ids),
    )


async def histories(platform: Platform) -> dict[UUID, list[str]]:
    """The types of each order's events, in version order, without "order."; fails if the versions have a gap."""
    found: dict[UUID, list[str]] = {}
    for order_id, version, type in await platform.query(
        "select order_id, version, type from order_service.order_events order by order_id, version"
    ):
        history = found.setdefault(order_id, [])
        assert version == len(history) + 1, f"order {order_id} has {history}, then version {version}"
        history.append(type.removeprefix("order."))
    return found


async def history_of(platform: Platform, order_id: UUID) -> list[str]:
    """One order's."""
    return (await histories(platform)).get(order_id, [])


def events(order_id: UUID, versions: int = 1) -> list[OrderEvent]:
    """Events of an order without the order, for tests that only send them."""
    return [
        OrderEvent(
            event_id=uuid7(),
            order_id=order_id,
            user_id="ada",
            version=version,
            status=OrderStatus.PENDING if version == 1 else OrderStatus.CONFIRMED,
            occurred_at=datetime.now(UTC),
            fact=OrderCreated(ITEMS, TOTAL) if version == 1 else OrderConfirmed(),
        )
        for version in range(1, versions + 1)
    ]


def in_bucket(bucket: int) -> UUID:
    """An order id whose events are in that bucket."""
    return UUID(int=uuid7().int >> 6 << 6 | bucket)


async def blocked(platform: Platform, count: int = 1) -> bool:
    """Whether so many connections of the test's database wait for a lock."""
    ((waiting,),) = await platform.query(
        "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
    )
    return bool(waiting >= count)


CANCEL = CancelRequested(Reason(ReasonCode.CANCELLED_BY_STAFF, "asked for"))
