"""The table of transitions against the contract's table of an order's life."""

from itertools import product

import pytest

from order_service.domain.status import FINAL_STATUSES, TRANSITIONS, Actor, OrderStatus, may_go, targets

LIFE = """
    PENDING     -> CONFIRMED    by SAGA
    PENDING     -> CANCELLED    by SAGA OWNER STAFF
    CONFIRMED   -> CANCELLED    by OWNER STAFF
    CONFIRMED   -> IN_PROGRESS  by STAFF
    CONFIRMED   -> SUSPENDED    by STAFF
    CONFIRMED   -> TERMINATED   by STAFF
    IN_PROGRESS -> DELIVERED    by STAFF
    IN_PROGRESS -> SUSPENDED    by STAFF
    IN_PROGRESS -> CANCELLED    by STAFF
    IN_PROGRESS -> TERMINATED   by STAFF
    SUSPENDED   -> CONFIRMED    by STAFF TIMER
    SUSPENDED   -> IN_PROGRESS  by STAFF TIMER
    SUSPENDED   -> CANCELLED    by STAFF
    SUSPENDED   -> TERMINATED   by STAFF
"""


def allowed() -> set[tuple[str, str, str]]:
    """From, to and by whom, out of the contract's section 3."""
    lines = [line.replace("->", "").replace(" by ", " ").split() for line in LIFE.strip().splitlines()]
    return {(origin, target, actor) for origin, target, *actors in lines for actor in actors}


@pytest.mark.parametrize("origin", OrderStatus)
def test_an_order_may_go_where_the_contract_says_and_nowhere_else(origin: OrderStatus) -> None:
    found = {(origin, target, actor) for target, actor in product(OrderStatus, Actor) if may_go(origin, target, actor)}

    assert found == {entry for entry in allowed() if entry[0] == origin}


def test_the_final_statuses_are_those_of_the_contract() -> None:
    assert {OrderStatus.CANCELLED, OrderStatus.DELIVERED, OrderStatus.TERMINATED} == FINAL_STATUSES


def test_every_status_has_a_row() -> None:
    assert TRANSITIONS.keys() == set(OrderStatus)


@pytest.mark.parametrize(("origin", "actor"), [*product(OrderStatus, Actor)])
def test_the_targets_that_are_named_are_those_that_are_allowed(origin: OrderStatus, actor: Actor) -> None:
    named = targets(origin, actor)

    assert set(named) == {target for target in OrderStatus if may_go(origin, target, actor)}
    assert len(named) == len(set(named))
