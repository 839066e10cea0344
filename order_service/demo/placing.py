"""Places the orders of a scenario over gRPC, as gateways do."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import grpc
from google.type.money_pb2 import Money

from order_service.demo.scenario import Kind, PlannedItem, PlannedOrder, Scenario
from order_service.pb import order_pb2, order_pb2_grpc

_CALL_SECONDS: Final = 10.0
_ATTEMPTS: Final = 3
_AT_ONCE: Final = 16
_SECONDS: Final = 6.0
_SLOWEST_RATE: Final = 50.0
_FASTEST_RATE: Final = 200.0
_CENTS: Final = 100


@dataclass(slots=True)
class Placed:
    """What came of placing: the orders that were acknowledged, by id, and the calls that failed."""

    acknowledged: dict[str, PlannedOrder] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)


async def place_all(target: str, scenario: Scenario, placed: Placed) -> None:
    """Places every order at a steady rate, and cancels at once those that are to be cancelled; `placed` fills up."""
    rate = min(_FASTEST_RATE, max(_SLOWEST_RATE, len(scenario.orders) / _SECONDS))
    free = asyncio.Semaphore(_AT_ONCE)
    started = time.monotonic()
    async with grpc.aio.insecure_channel(target) as channel, asyncio.TaskGroup() as group:
        stub = order_pb2_grpc.OrderServiceStub(channel)
        for count, order in enumerate(scenario.orders):
            await asyncio.sleep(max(0.0, started + count / rate - time.monotonic()))
            await free.acquire()
            group.create_task(_place(stub, order, placed, free.release))


async def _place(
    stub: "order_pb2_grpc.OrderServiceAsyncStub", order: PlannedOrder, placed: Placed, done: Callable[[], None]
) -> None:
    try:
        created = await _create(stub, order)
        placed.acknowledged[created.id] = order
        if order.kind is Kind.CANCELLED:
            request = order_pb2.CancelOrderRequest(order_id=created.id, user_id=order.user_id, reason="changed my mind")
            await stub.CancelOrder(request, timeout=_CALL_SECONDS)
    except grpc.aio.AioRpcError as error:
        placed.failures.append(f"{order.request_id}: {error.code().name} {error.details()}")
    finally:
        done()


async def _create(stub: "order_pb2_grpc.OrderServiceAsyncStub", order: PlannedOrder) -> order_pb2.Order:
    """Asks again while the service is unavailable: with a request_id that is safe."""
    request = order_pb2.CreateOrderRequest(
        user_id=order.user_id, request_id=order.request_id, items=[_item(item) for item in order.items]
    )
    for _ in range(_ATTEMPTS - 1):
        try:
            return (await stub.CreateOrder(request, timeout=_CALL_SECONDS)).order
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
            await asyncio.sleep(1)
    return (await stub.CreateOrder(request, timeout=_CALL_SECONDS)).order


def _item(item: PlannedItem) -> order_pb2.OrderItem:
    units, cents = divmod(item.price_minor, _CENTS)
    price = Money(currency_code="USD", units=units, nanos=cents * 10_000_000)
    return order_pb2.OrderItem(product_id=item.product_id, quantity=item.quantity, unit_price=price)
