"""The stock service's books: what it holds for which order."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any


def held(entries: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, int]]:
    """What was taken and not released, by order and product. Something released that was never taken counts below
    zero."""
    books: dict[str, Counter[str]] = {}
    for entry in entries:
        match entry.get("event"):
            case "stock.taken":
                books.setdefault(entry["order_id"], Counter()).update(entry["items"])
            case "stock.released":
                books.setdefault(entry["order_id"], Counter()).subtract(entry["items"])
    kept = {
        order_id: {product: count for product, count in items.items() if count} for order_id, items in books.items()
    }
    return {order_id: items for order_id, items in kept.items() if items}
