"""What a demo asks of the service."""

import pytest

from order_service.demo.scenario import ENDINGS, Kind, plan
from order_service.demo.stock_service import BEHAVIOURS, behaviour_for


def test_the_same_seed_gives_the_same_orders() -> None:
    assert plan("run", 500, seed=7) == plan("run", 500, seed=7)
    assert plan("run", 500, seed=7) != plan("run", 500, seed=8)


def test_five_hundred_orders_are_of_every_kind_and_mostly_in_stock() -> None:
    scenario = plan("run", 500, seed=1)

    counts = {kind: scenario.count(kind) for kind in Kind}
    assert sum(counts.values()) == 500
    assert all(counts.values())
    assert counts[Kind.IN_STOCK] > 250


@pytest.mark.parametrize("orders", [1, 2, 9, 60])
def test_a_small_scenario_has_exactly_the_orders_asked_for(orders: int) -> None:
    assert len(plan("run", orders, seed=1).orders) == orders


def test_no_two_runs_share_a_user_or_a_request_id() -> None:
    one, other = plan("one", 50, seed=1), plan("other", 50, seed=1)

    assert not set(one.users) & set(other.users)
    assert not {order.request_id for order in one.orders} & {order.request_id for order in other.orders}


def test_every_kind_ends_as_the_stock_service_answers_it() -> None:
    for kind in set(Kind) - {Kind.CANCELLED}:
        behaviour = behaviour_for([f"{kind}-tea"])
        taken_in_time = behaviour.success and behaviour.times > 0 and not behaviour.late

        assert (ENDINGS[kind].status == "CONFIRMED") is taken_in_time
        assert ENDINGS[kind].released is behaviour.late


def test_the_first_product_that_is_known_decides_and_others_are_in_stock() -> None:
    assert behaviour_for(["tea", "out-of-stock-cup", "never-answered-cup"]) == BEHAVIOURS["out-of-stock-"]
    assert behaviour_for(["tea", "cup"]) == BEHAVIOURS["in-stock-"]
