"""Orders as people and programs see them."""

from collections.abc import Iterable
from typing import Any

import click

from order_service.cli.output import print_fields, print_table, when
from order_service.domain.order import Item, Order
from order_service.storage.events import RecordedEvent
from order_service.storage.outbox import UnsentEvent
from order_service.use_cases.explain_order import Explanation


def order_json(order: Order) -> dict[str, Any]:
    """An order. These names are a contract with programs: add, never change."""
    return {
        "order_id": order.order_id,
        "user_id": order.user_id,
        "status": order.status,
        "reason_code": order.reason.code if order.reason else None,
        "reason": order.reason.text if order.reason else None,
        "total_price": order.total.decimal(),
        "currency": order.total.currency,
        "version": order.version,
        "created_at": order.created_at,
        "updated_at": order.updated_at,
        "items": [_item_json(item) for item in order.items],
    }


def event_json(event: RecordedEvent) -> dict[str, Any]:
    """A line of an order's history."""
    return {
        "version": event.version,
        "type": event.type,
        "status": event.status,
        "event_id": event.event_id,
        "occurred_at": event.occurred_at,
        "confirmed_at": event.confirmed_at,
    }


def explanation_json(explanation: Explanation) -> dict[str, Any]:
    """Why an order is where it is."""
    waiting = bool(explanation.waiting_for)
    return {
        "sentence": explanation.sentence,
        "order_id": explanation.order.order_id,
        "status": explanation.order.status,
        "reason_code": explanation.order.reason.code if explanation.order.reason else None,
        "waiting_for": explanation.waiting_for or None,
        "waited_seconds": explanation.waited.total_seconds() if waiting else None,
        "deadline_at": explanation.saga.deadline_at,
        "saga": explanation.saga.state,
        "steps": explanation.saga.steps,
        "unsent_events": [_unsent_json(event) for event in explanation.unsent],
        "last_event": event_json(explanation.last_event) if explanation.last_event else None,
    }


def print_orders(orders: Iterable[Order]) -> None:
    """A line for each."""
    rows = (
        (
            str(order.order_id),
            order.status,
            str(order.total),
            when(order.created_at, "seconds"),
            order.user_id,
            order.reason.code if order.reason else "",
        )
        for order in orders
    )
    print_table(("ORDER", "STATUS", "TOTAL", "CREATED", "USER", "REASON"), rows)


def print_order(order: Order) -> None:
    """Its fields, and its items."""
    reason = f"{order.reason.code} ({order.reason.text})" if order.reason and order.reason.text else ""
    print_fields(
        [
            ("order", str(order.order_id)),
            ("user", order.user_id),
            ("status", order.status),
            ("reason", reason or (order.reason.code if order.reason else "")),
            ("total", str(order.total)),
            ("created", when(order.created_at)),
            ("updated", when(order.updated_at)),
        ]
    )
    click.echo()
    rows = ((item.product_id, str(item.quantity), str(item.unit_price)) for item in order.items)
    print_table(("PRODUCT", "QUANTITY", "PRICE OF ONE"), rows)


def print_events(events: Iterable[RecordedEvent]) -> None:
    """An order's history."""
    rows = (
        (str(event.version), event.type, event.status, when(event.occurred_at), when(event.confirmed_at) or "not yet")
        for event in events
    )
    print_table(("VERSION", "EVENT", "STATUS", "OCCURRED", "CONFIRMED"), rows)


def print_explanation(explanation: Explanation) -> None:
    """The fields behind the sentence."""
    steps = ", ".join(f"{name} {state}" for name, state in explanation.saga.steps.items())
    last = explanation.last_event
    unsent = "; ".join(
        f"{event.type} (version {event.version}, {event.attempts} attempts, {when(event.due_at) or 'parked'})"
        for event in explanation.unsent
    )
    print_fields(
        [
            ("order", str(explanation.order.order_id)),
            ("saga", f"{explanation.saga.state}: {steps}"),
            ("waits for", explanation.waiting_for),
            ("deadline", when(explanation.saga.deadline_at)),
            ("last event", f"{last.type} at {when(last.occurred_at)}" if last else ""),
            ("confirmed", when(last.confirmed_at) if last else ""),
            ("not sent", unsent),
        ]
    )


def _item_json(item: Item) -> dict[str, Any]:
    return {"product_id": item.product_id, "quantity": item.quantity, "price": item.unit_price.decimal()}


def _unsent_json(event: UnsentEvent) -> dict[str, Any]:
    return {
        "type": event.type,
        "version": event.version,
        "attempts": event.attempts,
        "next_attempt_at": event.due_at,
        "last_failure": event.last_failure or None,
    }
