"""Asks what became of the orders, once no more are sent."""

import asyncio
import time
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import UTC
from typing import Final

import grpc

from order_service.pb import order_pb2, order_pb2_grpc
from order_service.stress.histogram import Histogram
from order_service.stress.measuring import Measured

_PAGE: Final = 1_000
_CALL_SECONDS: Final = 5.0
_LOOK_AGAIN_SECONDS: Final = 0.2
_SETTLED: Final = (order_pb2.CONFIRMED, order_pb2.CANCELLED)


@dataclass(slots=True)
class Outcomes:
    """Of the orders that were asked for: how many have which status, the reasons of those that were cancelled, the
    seconds from creation to the outcome, and the ids of orders that were accepted and are not there. `failure` says
    why not all could be asked for; `settled_share` is the share that had an outcome at the last look, at a few orders
    that stand for all."""

    statuses: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    seconds: Histogram = field(default_factory=Histogram)
    missing: set[str] = field(default_factory=set)
    failure: str = ""
    settled_share: float = 0.0

    @property
    def asked(self) -> int:
        """Orders that are there."""
        return self.statuses.total()

    def add(self, orders: Collection[order_pb2.Order], acknowledged: Collection[str]) -> None:
        """All orders of a user, of which these were accepted."""
        self.missing |= set(acknowledged) - {order.id for order in orders}
        for order in orders:
            self.statuses[order_pb2.OrderStatus.Name(order.status)] += 1
            if order.status == order_pb2.CANCELLED:
                self.reasons[order.status_reason.code] += 1
            if order.status in _SETTLED:
                took = order.updated_at.ToDatetime(UTC) - order.created_at.ToDatetime(UTC)
                self.seconds.record(took.total_seconds())


async def ask(
    stub: "order_pb2_grpc.OrderServiceAsyncStub", measured: Measured, wait: float, outcomes: Outcomes
) -> None:
    """Waits up to so many seconds until the sampled orders are settled, one user after another, so that one call is
    under way at a time; `outcomes` fills up."""
    ends = time.monotonic() + wait
    for user in _users(measured):
        orders = await _until_settled(stub, user, ends, outcomes)
        if orders is None:
            return
        outcomes.add(orders, measured.acknowledged[user])


def _users(measured: Measured) -> Iterator[str]:
    return (user for user in measured.plan.sampled_users() if user in measured.acknowledged)


async def _until_settled(
    stub: "order_pb2_grpc.OrderServiceAsyncStub", user: str, ends: float, outcomes: Outcomes
) -> list[order_pb2.Order] | None:
    """All orders of a user, settled or as they are when the time is up; None if it cannot be told."""
    while True:
        orders: list[order_pb2.Order] | None = None
        try:
            orders = await _list(stub, user)
            outcomes.failure = ""
            outcomes.settled_share = sum(order.status != order_pb2.PENDING for order in orders) / max(1, len(orders))
        except grpc.aio.AioRpcError as error:
            outcomes.failure = f"{error.code().name}: {error.details()}"
        if orders is not None and all(order.status != order_pb2.PENDING for order in orders):
            return orders
        if time.monotonic() > ends:
            return orders
        await asyncio.sleep(_LOOK_AGAIN_SECONDS)


async def _list(stub: "order_pb2_grpc.OrderServiceAsyncStub", user: str) -> list[order_pb2.Order]:
    orders: list[order_pb2.Order] = []
    request = order_pb2.ListOrdersRequest(user_id=user, page_size=_PAGE)
    while True:
        page = await stub.ListOrders(request, timeout=_CALL_SECONDS)
        orders.extend(page.orders)
        if not page.next_page_token:
            return orders
        request.page_token = page.next_page_token
