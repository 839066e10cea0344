"""Kinds of arguments that click does not know, as callbacks of options. Each raises BadParameter."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation

import click


@dataclass(frozen=True, slots=True)
class ItemArgument:
    """What is ordered; the price is that of one."""

    product_id: str
    quantity: int
    price: Decimal


def time_argument(_context: click.Context, _parameter: click.Parameter, text: str | None) -> datetime | None:
    """A time as ISO 8601 has it; one without an offset is in UTC."""
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is no time such as 2026-01-31T12:00:00Z") from None
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time


def item_arguments(
    _context: click.Context, _parameter: click.Parameter, texts: Sequence[str]
) -> tuple[ItemArgument, ...]:
    """PRODUCT:QUANTITY:PRICE, each. A product's id may itself hold colons."""
    return tuple(_item(text) for text in texts)


def _item(text: str) -> ItemArgument:
    try:
        product_id, quantity, price = text.rsplit(":", 2)
        item = ItemArgument(product_id, int(quantity), Decimal(price))
    except (ValueError, InvalidOperation):
        raise click.BadParameter(f"{text!r} is not PRODUCT:QUANTITY:PRICE, such as tea:2:19.99") from None
    if not -(2**31) <= item.quantity < 2**31 or not item.price.is_finite() or abs(item.price) >= 10**15:
        raise click.BadParameter(f"{text!r} holds a number that is out of range")
    return item
