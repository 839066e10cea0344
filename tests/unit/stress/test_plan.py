"""What is sent, and when."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from order_service.stress.plan import Rpc
from tests.unit.stress.plans import a_plan


def test_the_last_batch_may_be_smaller() -> None:
    rpcs = list(a_plan(num=25, batch=10).rpcs())

    assert rpcs == [Rpc(0, 10), Rpc(10, 10), Rpc(20, 5)]


@given(num=st.integers(1, 3_000), batch=st.integers(1, 1_000))
def test_each_order_is_in_one_call(num: int, batch: int) -> None:
    numbers = [number for rpc in a_plan(num=num, batch=batch).rpcs() for number in rpc.numbers]

    assert numbers == list(range(num))


def test_with_a_rate_each_call_is_due_at_the_time_of_its_first_order() -> None:
    plan = a_plan(num=30, batch=10, rate=100.0)

    assert [plan.due(rpc) for rpc in plan.rpcs()] == [0.0, 0.1, 0.2]


def test_without_a_rate_no_call_has_a_time() -> None:
    plan = a_plan(num=3)

    assert {plan.due(rpc) for rpc in plan.rpcs()} == {None}


@given(num=st.integers(1, 5_000), sample=st.integers(100, 6_000))
def test_the_sample_is_whole_users_and_no_more_orders_than_asked_for(num: int, sample: int) -> None:
    plan = a_plan(num=num, sample=sample)
    users = set(plan.sampled_users())

    sampled = [number for number in range(num) if plan.is_sampled(number)]

    assert sampled == [number for number in range(num) if plan.user_of(number) in users]
    assert 0 < len(sampled) <= sample
    assert len(sampled) == num or num > sample


@pytest.mark.parametrize("num", [1, 100, 101, 12_345])
def test_no_user_has_more_orders_than_a_page_of_a_list(num: int) -> None:
    plan = a_plan(num=num)

    orders = Counter(plan.user_of(number) for number in range(num))

    assert max(orders.values()) <= 100
    assert all(user.startswith("stress-r-") for user in orders)


def test_a_user_has_orders_from_the_whole_run() -> None:
    plan = a_plan(num=10_000)

    numbers = [number for number in range(10_000) if plan.user_of(number) == plan.user_of(0)]

    assert numbers == list(range(0, 10_000, 100))
