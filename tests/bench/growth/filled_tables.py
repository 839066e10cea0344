"""Fills the tables that measures share, and says what that took."""

import time
from collections.abc import Callable

from tests.bench.growth.databases import Database, Databases
from tests.bench.growth.filling import size_of
from tests.bench.growth.measured import Measured, Panel
from tests.bench.growth.sizes import Sizes
from tests.endurance.measured import Result, Tell


async def fill_tables(databases: Databases, sizes: Sizes, tell: Tell) -> Measured:
    """The large tables, the smaller ones, and those that ListOrders is compared with."""
    total = sizes.large + sizes.middle + sizes.listed
    began, before = time.monotonic(), 0
    filled: list[Database] = []
    for orders, listed in ((sizes.listed, sizes.listed), (sizes.middle, 0), (sizes.large, sizes.listed)):
        filled.append(await databases.with_orders(orders, listed, _telling(tell, before, orders, total)))
        before += orders
    seconds = time.monotonic() - began
    size = await size_of(filled[-1].platform.database_url)
    figures = {
        "orders": float(total),
        "seconds": round(seconds, 1),
        "orders/s": round(total / seconds),
        f"{filled[-1].label}: GB": round(size / 1e9, 2),
        "bytes an order": round(size / sizes.large),
    }
    return Measured(Result("fill", figures, []), Panel("", ""))


def _telling(tell: Tell, before: int, orders: int, total: int) -> Callable[[int], None]:
    def filled(done: int) -> None:
        doing = f"{done:,} of {orders:,} orders" if done < orders else f"{orders:,} orders, vacuum"
        tell((before + done) / total, doing)

    return filled
