"""A bare grpc.aio server: it reads each request and answers at once with an order of the size of the real one.

The limit of what one process can serve in Python: the service's own generated code, port options and event loop, and
nothing else. `python -m tests.bench.bare_server` says `{"port": ...}` and serves until it is ended.
"""

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import grpc
import uvloop

from order_service.api.acceptors import Listening
from order_service.api.answers import order_answer
from order_service.api.requests import new_order
from order_service.domain.order import Order
from order_service.domain.status import OrderStatus
from order_service.pb import order_pb2, order_pb2_grpc
from tests.bench.orders import create_request


def answer() -> order_pb2.Order:
    """What the service answers to a request of the bench, field by field."""
    new = new_order(create_request(0), "USD")
    now = datetime.now(UTC)
    return order_answer(
        Order(UUID(int=2**127), new.user_id, new.total, OrderStatus.PENDING, 1, now, now, items=new.items)
    )


class BareServicer(order_pb2_grpc.OrderServiceServicer):
    """Answers the same to everybody."""

    def __init__(self) -> None:
        self._created = order_pb2.CreateOrderResponse(order=answer())
        self._got = order_pb2.GetOrderResponse(order=answer())

    async def CreateOrder(self, request: order_pb2.CreateOrderRequest, context: Any) -> order_pb2.CreateOrderResponse:
        """At once."""
        return self._created

    async def GetOrder(self, request: order_pb2.GetOrderRequest, context: Any) -> order_pb2.GetOrderResponse:
        """At once."""
        return self._got


async def serve() -> None:
    """Until the process is ended."""
    bare = grpc.aio.server(options=Listening("127.0.0.1", 0, reflection=False).options())
    # The stubs ask for all methods; it is asked for two.
    servicer: Any = BareServicer
    order_pb2_grpc.add_OrderServiceServicer_to_server(servicer(), bare)
    port = bare.add_insecure_port("127.0.0.1:0")
    await bare.start()
    print(json.dumps({"port": port}), flush=True)  # noqa: T201
    await bare.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(serve())
