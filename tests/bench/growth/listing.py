"""ListOrders of a user: pages take no longer among very many orders of others than among none."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import grpc

from order_service.pb import order_pb2, order_pb2_grpc
from tests.bench.api_processes import Api, Load, api
from tests.bench.growth.databases import Database, Databases
from tests.bench.growth.filling import LISTED_USER
from tests.bench.growth.measured import Measured, Panel
from tests.bench.growth.sizes import Sizes
from tests.bench.growth.turns import Rounds, figures_of, in_turn, median_ratio
from tests.bench.load.requests import write_requests
from tests.bench.measured import SECONDS, Figure, Measure
from tests.endurance.measured import Bound, Result, Tell

MOST: Final = 1.2
"""Times the time of a page in small tables."""

_PAGE: Final = 50


async def list_orders(databases: Databases, sizes: Sizes, tell: Tell) -> Measured:
    """One client asks the pages of a user's orders, one after the other: the first page over and over, and all."""
    SECONDS.set(sizes.seconds)
    tell(0, "making ready")
    small = await databases.with_orders(sizes.listed, sizes.listed)
    large = await databases.with_orders(sizes.large, sizes.listed)
    sides: dict[str, Measure] = {}
    async with AsyncExitStack() as stack:
        for database in (small, large):
            serving = await stack.enter_async_context(api(database.platform))
            pages = await pages_of_user(serving.port)
            for what, requests in (("first page", pages[:1]), ("all pages", pages)):
                file = database.platform.folder / what.replace(" ", "-")
                write_requests(file, requests)
                sides[f"{what}, {database.label}"] = _asking(database, serving, file)
        rounds = await in_turn(sides, sizes.rounds, tell)
    return result_of(rounds, small, large, sizes.listed)


def result_of(rounds: Rounds, small: Database, large: Database, listed: int) -> Measured:
    """The time of a page in the large tables against that in the small ones."""
    bounds, curves = [], {}
    for what in ("first page", "all pages"):
        sides = [f"{what}, {database.label}" for database in (small, large)]
        ratio = median_ratio(rounds[sides[1]], rounds[sides[0]])
        bounds.append(Bound(f"{what} of {listed:,}: among {large.label} / alone", round(ratio, 3), most=MOST))
        curves[what] = [(float(small.orders), 1.0), (float(large.orders), ratio)]
    figures = figures_of(rounds, "ms", "page", digits=3)
    panel = Panel("orders in the tables", "time of a page, of that in small tables", curves, MOST)
    return Measured(Result("list-orders", figures, bounds), panel)


def _asking(database: Database, serving: Api, file: Path) -> Measure:
    load = Load("ListOrders", file, in_flight=1, channels=1)

    async def ask() -> Figure:
        found = await database.site.loaded(load, serving.port, service=serving.pid)
        # The time of a page is what counts, not how many there are in a second.
        return Figure(1000 / found.value, found.cpu_us, found.more)

    return ask


async def pages_of_user(port: int) -> Sequence[order_pb2.ListOrdersRequest]:
    """The request for each page of the listed user's orders. Raises AssertionError if one page is empty."""
    pages = [order_pb2.ListOrdersRequest(user_id=LISTED_USER, page_size=_PAGE)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub: order_pb2_grpc.OrderServiceAsyncStub = order_pb2_grpc.OrderServiceStub(channel)
        while True:
            answer: order_pb2.ListOrdersResponse = await stub.ListOrders(pages[-1])
            if not answer.orders:
                raise AssertionError(f"page {len(pages)} of {LISTED_USER} is empty")
            if not answer.next_page_token:
                return pages
            pages.append(
                order_pb2.ListOrdersRequest(user_id=LISTED_USER, page_size=_PAGE, page_token=answer.next_page_token)
            )
