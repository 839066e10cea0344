"""The gateway: asks until it is answered, and writes down each attempt."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import grpc

from order_service.pb import order_pb2, order_pb2_grpc
from tests.faults.history import Call, content_of

Items = Mapping[str, tuple[int, int]]
"""For each product the quantity and the price of one in cents."""

_OPTIONS = (("grpc.initial_reconnect_backoff_ms", 50), ("grpc.max_reconnect_backoff_ms", 200))
_PAUSE_SECONDS = 0.02
_FINAL_CODES = frozenset({"OK", "NOT_FOUND", "FAILED_PRECONDITION", "ABORTED", "INVALID_ARGUMENT"})


class Gateway:
    """Calls one of several servers, and the next one whenever that fails. Made by `to`."""

    def __init__(self, stubs: Sequence[Any], attempt_seconds: float) -> None:
        self._stubs = stubs
        self._attempt_seconds = attempt_seconds
        self._turn = 0
        self.calls: list[Call] = []

    @classmethod
    @asynccontextmanager
    async def to(cls, *targets: str, attempt_seconds: float = 3.0) -> AsyncIterator["Gateway"]:
        """A gateway to the servers at `targets` ("host:port"). An attempt is given up after `attempt_seconds`."""
        async with AsyncExitStack() as stack:
            channels = [
                await stack.enter_async_context(grpc.aio.insecure_channel(target, options=_OPTIONS))
                for target in targets
            ]
            yield cls([order_pb2_grpc.OrderServiceStub(channel) for channel in channels], attempt_seconds)

    async def create(self, user_id: str, items: Items, request_id: str = "", seconds: float = 30.0) -> str:
        """Asks until the order is acknowledged; its id, or empty if it is not within `seconds`. Without a `request_id`
        it is asked for once."""
        request = order_pb2.CreateOrderRequest(user_id=user_id, items=_items(items), request_id=request_id)
        call = Call("CreateOrder", user_id, 0, 0, "", request_id, content_of(items))
        done = await self._until_answered(
            call, lambda stub: stub.CreateOrder(request, timeout=self._attempt_seconds), seconds if request_id else 0
        )
        return done.order_id if done.code == "OK" else ""

    async def cancel(self, user_id: str, order_id: str, seconds: float = 30.0) -> str:
        """Asks until the cancellation is answered; the status in the answer, or empty."""
        request = order_pb2.CancelOrderRequest(user_id=user_id, order_id=order_id)
        call = Call("CancelOrder", user_id, 0, 0, "", order_id=order_id)
        done = await self._until_answered(
            call, lambda stub: stub.CancelOrder(request, timeout=self._attempt_seconds), seconds
        )
        return done.status

    async def get(self, user_id: str, order_id: str, seconds: float = 30.0) -> str:
        """Asks until the read is answered; the order's status, or empty."""
        request = order_pb2.GetOrderRequest(user_id=user_id, order_id=order_id)
        call = Call("GetOrder", user_id, 0, 0, "", order_id=order_id)
        done = await self._until_answered(
            call, lambda stub: stub.GetOrder(request, timeout=self._attempt_seconds), seconds
        )
        return done.status

    async def _until_answered(self, asked: Call, ask: Callable[[Any], Awaitable[Any]], seconds: float) -> Call:
        ends = time.monotonic() + seconds
        while True:
            call = await self._attempt(asked, ask)
            if call.code in _FINAL_CODES or time.monotonic() >= ends:
                return call
            self._turn += 1
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _attempt(self, asked: Call, ask: Callable[[Any], Awaitable[Any]]) -> Call:
        began_at, code, order = time.monotonic(), "", None
        stub = self._stubs[self._turn % len(self._stubs)]
        try:
            order = (await ask(stub)).order
            code = "OK"
        except grpc.aio.AioRpcError as error:
            code = error.code().name
        finally:
            # Written down also if this task is cancelled: the server may have done it.
            call = Call(
                rpc=asked.rpc,
                user_id=asked.user_id,
                began_at=began_at,
                ended_at=time.monotonic(),
                code=code,
                request_id=asked.request_id,
                content=asked.content,
                order_id=order.id if order else asked.order_id,
                status=order_pb2.OrderStatus.Name(order.status) if order else "",
            )
            self.calls.append(call)
        return call


def _items(items: Items) -> list[order_pb2.OrderItem]:
    return [
        order_pb2.OrderItem(product_id=product, quantity=quantity, price=price / 100)
        for product, (quantity, price) in items.items()
    ]
