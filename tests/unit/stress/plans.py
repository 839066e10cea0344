"""A plan that is right in everything."""

from dataclasses import replace
from typing import Any

from order_service.stress.plan import Plan

_PLAN = Plan(
    target="127.0.0.1:50054",
    run_id="r",
    num=1_000,
    batch=1,
    concurrency=16,
    rate=None,
    connections=1,
    timeout=10.0,
    wait=60.0,
    sample=10_000,
    user="stress",
    items=2,
    products=("tea", "coffee", "cocoa"),
    seed=1,
)


def a_plan(**changes: Any) -> Plan:
    return replace(_PLAN, **changes)
