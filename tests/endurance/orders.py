"""Rows made in bulk by PostgreSQL itself, as the service would have left them."""

from tests.integration.platform import Platform

_UNSENT = """
    insert into order_service.outbox (order_id, version, bucket, event_id, type, occurred_at, payload, due_at)
    select gen_random_uuid(), 1, n %% 64, gen_random_uuid(), 'order.created', now(),
           '{"filling": "' || repeat('x', 300) || '"}', now() - (given.count - n) * interval '1 millisecond'
    from (select %s::integer as count) given, generate_series(1, given.count) n
"""

_PENDING = """
    with made as materialized (
        select gen_random_uuid() as order_id, given.*
        from (select %s::integer as count, %s::text as user_id, %s::jsonb as steps, %s::float as seconds) given,
             generate_series(1, given.count)
    ), orders as (
        insert into order_service.orders
            (order_id, user_id, currency, total_minor, status, version, created_at, updated_at)
        select order_id, user_id, 'USD', 100, 'PENDING', 1, now(), now() from made
    ), items as (
        insert into order_service.order_items (order_id, line, product_id, quantity, unit_price_minor)
        select order_id, 1, 'tea', 1, 100 from made
    ), history as (
        insert into order_service.order_events
            (order_id, version, event_id, user_id, type, status, occurred_at, payload)
        select order_id, 1, gen_random_uuid(), user_id, 'order.created', 'PENDING', now(), '{}' from made
    )
    insert into order_service.sagas (order_id, state, steps, asked_at, deadline_at, started_at)
    select order_id, 'RUNNING', steps, now(), now() + seconds * interval '1 second', now() from made
"""

ASKED = '{"stock": "ASKED"}'
OF_ANOTHER_VERSION = '{"stock": "HELD", "gift_wrapping": "ASKED"}'
"""A step that this version of the service does not know: whatever happens to such an order, acting upon it fails."""


async def make_unsent(platform: Platform, count: int) -> None:
    """Events in the outbox, a thousand for each second that has gone by: what waits after an outage."""
    await platform.query(_UNSENT, count)
    await platform.query("vacuum analyze order_service.outbox")


async def make_pending(
    platform: Platform, count: int, user: str, steps: str = ASKED, deadline_seconds: float = 86_400
) -> None:
    """Orders whose OrderCreated is sent, and whose saga waits for an answer until its deadline."""
    await platform.query(_PENDING, count, user, steps, deadline_seconds)
    for table in ("orders", "order_items", "sagas", "order_events"):
        await platform.query(f"vacuum analyze order_service.{table}")
