"""The orders that are sent."""

import pytest

from order_service.api.requests import batch_requests, new_order
from order_service.stress.orders import Orders
from order_service.stress.plan import Rpc
from tests.unit.stress.plans import a_plan


def test_the_same_seed_gives_the_same_orders() -> None:
    batch = Rpc(0, 300)

    first, second, other = (Orders(a_plan(seed=seed)).batch(batch) for seed in (7, 7, 8))

    assert first == second != other


@pytest.mark.parametrize("currency", ["USD", "JPY"])
@pytest.mark.parametrize("items", [1, 3, 40])
def test_every_order_is_one_that_the_service_takes(currency: str, items: int) -> None:
    batch = Orders(a_plan(items=items)).batch(Rpc(0, 500))

    taken = [new_order(request, currency) for request in batch_requests(batch)]

    assert {len(order.items) for order in taken} == {items}
    assert len({order.request_id for order in taken}) == 500


def test_orders_are_of_the_products_asked_for() -> None:
    orders = Orders(a_plan(products=("only-this",), items=2))

    assert {item.product_id for item in orders.single(0).items} == {"only-this"}
