"""The order's saga in the terms of DBOS, with tables like the service's."""

import json
from collections.abc import Callable, Sequence
from typing import Any, Final
from uuid import uuid4

from psycopg_pool import ConnectionPool

from tests.bench.bare.publisher_thread import Publish
from tests.bench.orders import create_request

Order = tuple[str, str, list[tuple[str, int, int]]]
"""Its id, its user, and its items: product, quantity, price of one in minor units."""

Statement = tuple[str, tuple[Any, ...]]
"""SQL and its values."""

TABLES: Final = """
    create table orders (
        order_id uuid primary key, user_id text not null, currency text not null, total_minor bigint not null,
        status text not null, created_at timestamptz not null default now(),
        updated_at timestamptz not null default now());
    create table order_items (
        order_id uuid not null, line smallint not null, product_id text not null, quantity integer not null,
        unit_price_minor bigint not null, primary key (order_id, line));
    create table order_events (
        order_id uuid not null, version integer not null, type text not null, payload text not null,
        occurred_at timestamptz not null default now(), primary key (order_id, version));
"""
_INSERT: Final = """
    insert into orders (order_id, user_id, currency, total_minor, status) values (%s, %s, 'USD', %s, 'PENDING')
    on conflict do nothing
"""
_INSERT_ITEM: Final = """
    insert into order_items (order_id, line, product_id, quantity, unit_price_minor) values (%s, %s, %s, %s, %s)
    on conflict do nothing
"""
_SETTLE: Final = "update orders set status = %s, updated_at = now() where order_id = %s and status = 'PENDING'"
_APPEND: Final = """
    insert into order_events (order_id, version, type, payload) values (%s, 2, %s, %s) on conflict do nothing
"""


def workflow(dbos: Any, pool: ConnectionPool[Any], publish: Publish) -> Callable[[Order], str]:
    """The saga, which returns the type of the event it ends with. A step that was executed and not recorded is executed
    again, so each is idempotent."""

    def store(order: Order) -> None:
        order_id, user_id, items = order
        total = sum(quantity * price for _, quantity, price in items)
        statements: list[Statement] = [(_INSERT, (order_id, user_id, total))]
        statements += [(_INSERT_ITEM, (order_id, line, *item)) for line, item in enumerate(items, 1)]
        _commit(pool, statements)

    def is_in_stock(order: Order) -> bool:
        return not any(product.startswith("out-of-stock-") for product, _, _ in order[2])

    def settle(order: Order, in_stock: bool) -> str:
        order_id, user_id, _ = order
        status = "CONFIRMED" if in_stock else "CANCELLED"
        payload = json.dumps({"order_id": order_id, "user_id": user_id, "status": status, "version": 2})
        _commit(pool, [(_SETTLE, (status, order_id)), (_APPEND, (order_id, f"order.{status.lower()}", payload))])
        return payload

    def announce(kind: str, payload: str) -> None:
        publish(kind, payload.encode())

    # Not as decorators: without dbos at hand their types are unknown, and those of what they decorate with them.
    steps = [dbos.step()(step) for step in (store, is_in_stock, settle, announce)]

    def saga(order: Order) -> str:
        stored, asked, settled, announced = steps
        stored(order)
        in_stock = asked(order)
        kind = "order.confirmed" if in_stock else "order.cancelled"
        announced(kind, settled(order, in_stock))
        return kind

    registered: Callable[[Order], str] = dbos.workflow()(saga)
    return registered


def _commit(pool: ConnectionPool[Any], statements: Sequence[Statement]) -> None:
    """In one transaction and one round trip."""
    with pool.connection() as connection, connection.pipeline():
        for statement, values in statements:
            connection.execute(statement.encode(), values)


def order_number(number: int) -> Order:
    """The same order as the clients of the service create, under an id of its own."""
    request = create_request(number)
    items = [(item.product_id, item.quantity, round(item.price * 100)) for item in request.items]
    return str(uuid4()), request.user_id, items
