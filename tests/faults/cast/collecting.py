"""Gathers what all parts saw, and the rows as they are in the end, for the judge."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import psycopg

from tests.faults.cast.gateway import Gateway
from tests.faults.cast.peers import PaymentService, StockService
from tests.faults.cast.recorder import Recorder
from tests.faults.history import History, StoredOrder, content_of
from tests.faults.judge import Rule, judge

MENDED_BY_TIME = frozenset(
    {Rule.OUTCOME_IN_TIME, Rule.NOTHING_UNSENT, Rule.EVERY_EVENT, Rule.PEER_ASKED, Rule.UNDONE_IF_CANCELLED}
    | {Rule.ROW_AS_TOLD, Rule.PARKED_IS_POISON}
)
"""What is broken for a moment in the midst of a run, and no longer once all has been worked off."""

_ORDERS = """
select o.order_id::text, o.user_id, o.status, o.version, o.created_at,
       (select json_agg(json_build_array(i.product_id, i.quantity, i.unit_price_minor))
        from order_service.order_items i where i.order_id = o.order_id)
from order_service.orders o
"""
_COUNTS = """
select (select count(*) from order_service.outbox), (select count(*) from order_service.parked_messages), now(),
       (select count(*) from order_service.orders where status = 'PENDING')
"""


@dataclass(frozen=True, slots=True)
class Cast:
    """Everybody around the service. Several gateways may call at once."""

    gateways: Sequence[Gateway]
    stock: StockService
    recorder: Recorder
    payment: PaymentService | None = None

    @property
    def gateway(self) -> Gateway:
        """The first gateway: most runs have one."""
        return self.gateways[0]


@asynccontextmanager
async def playing(
    rabbitmq_urls: Sequence[str], *targets: str, with_payment: bool = False, quorum: bool = False, prefetch: int = 100
) -> AsyncIterator[Cast]:
    """The whole cast, within the block: listening at the brokers, and a gateway that calls the servers at `targets`."""
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        recorder = await enter(Recorder.at(*rabbitmq_urls, quorum=quorum, prefetch=prefetch))
        stock = await enter(StockService.at(*rabbitmq_urls, quorum=quorum, prefetch=prefetch))
        payment = None
        if with_payment:
            payment = await enter(PaymentService.at(*rabbitmq_urls, quorum=quorum, prefetch=prefetch))
        yield Cast((await enter(Gateway.to(*targets)),), stock, recorder, payment)


async def collect(
    database: "str | psycopg.AsyncConnection[Any]",
    cast: Cast,
    *,
    longest_wait: timedelta,
    shortest_wait: timedelta = timedelta(0),
    poison: int = 0,
    most_repeats: int | None = None,
) -> History:
    """All that was seen so far, with the rows of this moment. `database` is a URL, or a connection without a
    transaction."""
    if isinstance(database, str):
        async with await psycopg.AsyncConnection.connect(database) as connection:
            rows, (unsent, parked, now, _) = await _read(connection)
    else:
        rows, (unsent, parked, now, _) = await _read(database)
    return History(
        calls=tuple(call for gateway in cast.gateways for call in gateway.calls),
        events=tuple(cast.recorder.events),
        stock=tuple(cast.stock.books),
        payments=tuple(cast.payment.books) if cast.payment else (),
        with_payment=cast.payment is not None,
        orders=tuple(_stored(*row) for row in rows),
        unsent=unsent,
        parked=parked,
        poison=poison,
        collected_at=now,
        longest_wait=longest_wait,
        shortest_wait=shortest_wait,
        most_repeats=most_repeats,
    )


async def settled(database_url: str, cast: Cast, *, poison: int = 0) -> bool:
    """Whether no order waits for anything and everybody has heard of everything. False if PostgreSQL is away."""
    try:
        async with await psycopg.AsyncConnection.connect(database_url) as connection:
            counts = await (await connection.execute(_COUNTS)).fetchone()
        if counts is None or counts[0] or counts[1] != poison or counts[3]:
            return False
        history = await collect(database_url, cast, longest_wait=timedelta(0), poison=poison)
    except psycopg.OperationalError:
        return False
    return not any(violation.rule in MENDED_BY_TIME for violation in judge(history))


async def _read(connection: "psycopg.AsyncConnection[Any]") -> tuple[Sequence[Any], tuple[int, int, datetime, int]]:
    """The orders and the counts of one moment."""
    async with connection.transaction():
        await connection.execute("set transaction isolation level repeatable read, read only")
        rows = await (await connection.execute(_ORDERS)).fetchall()
        counts = await (await connection.execute(_COUNTS)).fetchone()
    return rows, counts or (0, 0, datetime.min, 0)


def _stored(
    order_id: str, user_id: str, status: str, version: int, created_at: datetime, items: Sequence[Any] | None
) -> StoredOrder:
    content = content_of({product: (quantity, price) for product, quantity, price in items or ()})
    return StoredOrder(order_id, user_id, content, status, version, created_at)
