"""A page looks at a bounded number of orders and holds a bounded number of bytes, whatever it is asked for; nothing is
left out or comes twice."""

from uuid import UUID

import pytest

from order_service.domain.status import OrderStatus
from order_service.storage import orders
from order_service.storage.database import Database
from order_service.storage.orders import ALL_USERS
from tests.integration.platform import Platform
from tests.integration.storage_fixtures import created, opened

NEWEST = UUID(int=2**128 - 1)
LOOKS_AT = 5


@pytest.fixture(autouse=True)
def few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orders, "_SCAN", LOOKS_AT)


async def pages(database: Database, user: str, status: OrderStatus, size: int) -> list[list[UUID]]:
    """The ids on each page, until there is no next one."""
    found: list[list[UUID]] = []
    below: UUID | None = NEWEST
    while below is not None:
        async with database.read() as unit_of_work:
            page = await unit_of_work.orders.page(user, [status], below, size)
        found.append([order.order_id for order in page.orders])
        assert page.next_below is None or page.next_below < below
        below = page.next_below
    return found


async def confirm(platform: Platform, order_ids: list[UUID]) -> None:
    await platform.query("update order_service.orders set status = 'CONFIRMED' where order_id = any(%s)", order_ids)


@pytest.mark.parametrize("user", ["ada", ALL_USERS])
@pytest.mark.parametrize(
    ("places", "size", "expected"),
    [
        ([], 2, [[], [], []]),
        ([0], 2, [[], [], [0]]),
        ([11], 2, [[11], [], []]),
        ([1, 3, 8, 9, 11], 2, [[11, 9], [8], [3, 1]]),
        ([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11], 4, [[11, 10, 9, 8], [7, 6, 5, 4], [3, 2, 1, 0]]),
        ([7, 8, 9, 10, 11], 5, [[11, 10, 9, 8, 7], [], []]),
    ],
    ids=["none", "the oldest", "the newest", "some", "all", "as many as it looks at"],
)
async def test_pages_hold_what_is_wanted_once_and_in_order(
    platform: Platform, user: str, places: list[int], size: int, expected: list[list[int]]
) -> None:
    async with opened(platform.database_url) as database:
        order_ids = sorted(await created(database, 12))
        await confirm(platform, [order_ids[place] for place in places])

        found = await pages(database, user, OrderStatus.CONFIRMED, size)

    assert found == [[order_ids[place] for place in page] for page in expected]


@pytest.mark.parametrize("user", ["ada", ALL_USERS])
@pytest.mark.parametrize(
    ("places", "expected"),
    [
        ([7, 8, 9, 10, 11], [[11, 10], [9, 8], [7], []]),
        ([0, 1, 2, 8, 9, 10, 11], [[11, 10], [9, 8], [2, 1], [0]]),
        ([9, 10, 11], [[11, 10], [9], [], []]),
    ],
    ids=["more than the page bears", "and more than it looks at", "one left"],
)
async def test_a_page_ends_with_the_order_that_fills_it(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, user: str, places: list[int], expected: list[list[int]]
) -> None:
    monkeypatch.setattr(orders, "PAGE_BYTES", 400)
    async with opened(platform.database_url) as database:
        order_ids = sorted(await created(database, 12))
        await confirm(platform, [order_ids[place] for place in places])

        found = await pages(database, user, OrderStatus.CONFIRMED, 4)

    assert found == [[order_ids[place] for place in page] for page in expected]


async def test_an_order_that_fills_more_than_a_page_is_one(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orders, "PAGE_BYTES", 1)
    async with opened(platform.database_url) as database:
        order_ids = sorted(await created(database, 3))

        found = await pages(database, "ada", OrderStatus.PENDING, 4)

    assert found == [[order_id] for order_id in reversed(order_ids)]
