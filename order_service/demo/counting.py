"""What the database says of a run's orders."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import psycopg

_STATUSES: Final = """
    select status, count(*) from order_service.orders where user_id = any(%(users)s) group by status
"""
_ORDERS: Final = """
    select order_id::text, status, coalesce(reason_code, '') from order_service.orders where user_id = any(%(users)s)
"""
_HISTORY: Final = """
    select e.event_id::text, e.type
    from order_service.orders o join order_service.order_events e on e.order_id = o.order_id
    where o.user_id = any(%(users)s)
"""
_CONFIRMED_ITEMS: Final = """
    select o.order_id::text, i.product_id, sum(i.quantity)::integer
    from order_service.orders o join order_service.order_items i on i.order_id = o.order_id
    where o.user_id = any(%(users)s) and o.status = 'CONFIRMED'
    group by o.order_id, i.product_id
"""
_UNSENT: Final = """
    select count(*)
    from order_service.orders o join order_service.outbox m on m.order_id = o.order_id
    where o.user_id = any(%(users)s)
"""
_PARKED: Final = """
    select count(*) from order_service.parked_messages p
    where p.body = %(poison)s
        or p.order_id in (select order_id from order_service.orders where user_id = any(%(users)s))
"""
_SECONDS: Final = """
    select percentile_cont(array[0.5, 0.95, 0.99]) within group (order by seconds),
           percentile_cont(array[0.5, 0.95, 0.99]) within group (order by seconds) filter (where answered)
    from (
        select extract(epoch from min(e.occurred_at) - o.created_at)::double precision as seconds,
               o.reason_code is null or o.reason_code = 'STOCK_REFUSED' as answered
        from order_service.orders o
        join order_service.order_events e
            on e.order_id = o.order_id and e.type in ('order.confirmed', 'order.cancelled')
        where o.user_id = any(%(users)s)
        group by o.order_id
    ) settled
"""


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Seconds from create to outcome: so many orders out of a hundred were faster."""

    p50: float
    p95: float
    p99: float


@dataclass(frozen=True, slots=True)
class Stored:
    """Everything at one moment: status and reason code of each order, the type of each event by its id, the items of
    confirmed orders, and what is unsent or parked."""

    orders: Mapping[str, tuple[str, str]]
    events: Mapping[str, str]
    confirmed_items: Mapping[str, Mapping[str, int]]
    unsent: int
    parked: int
    seconds: Percentiles | None
    seconds_answered_in_time: Percentiles | None


class Counting:
    """Asks about the orders of some users."""

    def __init__(self, connection: "psycopg.AsyncConnection[Any]", users: Sequence[str], poison: bytes) -> None:
        self._connection = connection
        self._parameters = {"users": users, "poison": poison}

    async def statuses(self) -> Counter[str]:
        """How many orders have each status."""
        return Counter(dict(await self._rows(_STATUSES)))

    async def stored(self) -> Stored:
        """Everything."""
        async with self._connection.transaction():
            await self._connection.execute("set transaction isolation level repeatable read, read only")
            orders = {order_id: (status, reason) for order_id, status, reason in await self._rows(_ORDERS)}
            items: dict[str, dict[str, int]] = {}
            for order_id, product_id, quantity in await self._rows(_CONFIRMED_ITEMS):
                items.setdefault(order_id, {})[product_id] = quantity
            (every, answered) = (await self._rows(_SECONDS))[0]
            return Stored(
                orders=orders,
                events=dict(await self._rows(_HISTORY)),
                confirmed_items=items,
                unsent=(await self._rows(_UNSENT))[0][0],
                parked=(await self._rows(_PARKED))[0][0],
                seconds=Percentiles(*every) if every else None,
                seconds_answered_in_time=Percentiles(*answered) if answered else None,
            )

    async def _rows(self, query: str) -> list[tuple[Any, ...]]:
        cursor = await self._connection.execute(query.encode(), self._parameters)
        return await cursor.fetchall()
