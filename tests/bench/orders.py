"""The orders that the bench places: alike in size, of many users and products."""

from collections.abc import Iterator

from order_service.pb import order_pb2

_USERS = 997
_PRODUCTS = 499


def create_request(number: int) -> order_pb2.CreateOrderRequest:
    """An order of two items."""
    return order_pb2.CreateOrderRequest(
        user_id=f"user-{number % _USERS:06}",
        items=[
            order_pb2.OrderItem(product_id=_product(number), quantity=2, price=19.99),
            order_pb2.OrderItem(product_id=_product(number + _PRODUCTS // 2), quantity=1, price=5.49),
        ],
    )


def create_requests(count: int) -> Iterator[order_pb2.CreateOrderRequest]:
    """So many orders."""
    return (create_request(number) for number in range(count))


def batch_request(number: int, size: int) -> order_pb2.BatchCreateOrdersRequest:
    """`size` orders in one request."""
    return order_pb2.BatchCreateOrdersRequest(requests=[create_request(number * size + place) for place in range(size)])


def _product(number: int) -> str:
    return f"product-{number % _PRODUCTS:06}"
