"""`order-service place`: one order from the terminal, over gRPC as a gateway sends it."""

import os
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final, NoReturn

import click
import grpc
from google.rpc.error_details_pb2 import BadRequest
from google.rpc.status_pb2 import Status
from google.type.money_pb2 import Money

from order_service import config
from order_service.cli.arguments import ItemArgument, item_arguments
from order_service.cli.exits import FAILED, OK, UNAVAILABLE, USAGE, fail, told
from order_service.cli.output import print_json, when
from order_service.pb import order_pb2, order_pb2_grpc

_CREATE_SECONDS: Final = 15.0
_NANO_DIGITS: Final = 9
_EXIT_CODES: Final = {
    grpc.StatusCode.INVALID_ARGUMENT: USAGE,
    grpc.StatusCode.UNAVAILABLE: UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED: UNAVAILABLE,
}


@click.command()
@click.option("--target", help="Address of the gRPC server.  [default: GRPC_PORT of this machine]")
@click.option("--user", required=True, help="Whose order it is.")
@click.option(
    "--item",
    "items",
    callback=item_arguments,
    multiple=True,
    required=True,
    metavar="PRODUCT:QUANTITY:PRICE",
    help="What is ordered; the price is that of one. May be given more than once.",
)
@click.option("--currency", help="ISO 4217, such as EUR.  [default: the server's]")
@click.option("--request-id", default="", help="Makes it safe to repeat the command: the same id, the same order.")
@click.option("--wait/--no-wait", default=True, show_default=True, help="Wait for the outcome of the saga.")
@click.option("--seconds", default=120.0, show_default=True, help="How long to wait for the outcome.")
@click.option("--json", "as_json", is_flag=True, help="For programs: one JSON object for each state, on a line.")
@told
def place(
    target: str | None,
    user: str,
    items: Sequence[ItemArgument],
    currency: str | None,
    request_id: str,
    wait: bool,
    seconds: float,
    as_json: bool,
) -> None:
    """Place an order and show what becomes of it.

    Exit code 1 if it is cancelled.

    \b
    Example:
      order-service place --user ada --item tea:2:19.99 --item cup:1:7.50
    """
    request = order_pb2.CreateOrderRequest(
        user_id=user, items=[_item(item, currency) for item in items], request_id=request_id
    )
    address = target or f"127.0.0.1:{config.read(os.environ, frozenset()).grpc_port}"
    status = order_pb2.ORDER_STATUS_UNSPECIFIED
    try:
        with grpc.insecure_channel(address) as channel:
            for order in _states(order_pb2_grpc.OrderServiceStub(channel), request, seconds if wait else 0):
                _show(order, as_json)
                status = order.status
    except grpc.RpcError as error:
        _fail(error, address)
    raise SystemExit(FAILED if status == order_pb2.CANCELLED else OK)


def _states(
    stub: order_pb2_grpc.OrderServiceStub, request: order_pb2.CreateOrderRequest, seconds: float
) -> Iterator[order_pb2.Order]:
    """The order as it is created and, if there is time to wait, as it changes until it is settled."""
    created = stub.CreateOrder(request, timeout=_CREATE_SECONDS).order
    yield created
    if seconds:
        watched = order_pb2.WatchOrderRequest(order_id=created.id, user_id=created.user_id, until_settled=True)
        for answer in stub.WatchOrder(watched, timeout=seconds):
            if answer.order.etag != created.etag:
                yield answer.order


def _item(item: ItemArgument, currency: str | None) -> order_pb2.OrderItem:
    """With a currency the price goes out exact; without one as the double, which the server reads in its own."""
    if currency is None:
        return order_pb2.OrderItem(product_id=item.product_id, quantity=item.quantity, price=float(item.price))
    unit_price = _money(item.price, currency)
    return order_pb2.OrderItem(product_id=item.product_id, quantity=item.quantity, unit_price=unit_price)


def _money(price: Decimal, currency: str) -> Money:
    nanos = price.scaleb(_NANO_DIGITS)
    if nanos != int(nanos):
        raise click.UsageError(f"{price} has too many decimals")
    units = int(price)
    return Money(currency_code=currency, units=units, nanos=int(nanos) - units * 10**_NANO_DIGITS)


def _show(order: order_pb2.Order, as_json: bool) -> None:
    if as_json:
        print_json(_json(order))
        return
    reason = order.status_reason
    why = f"  {reason.code} ({reason.message})" if reason.code else ""
    click.echo(f"{when(_time(order))}  {order.id}  {order_pb2.OrderStatus.Name(order.status)}{why}")


def _json(order: order_pb2.Order) -> dict[str, Any]:
    """The names are those of `orders show --json`."""
    return {
        "order_id": order.id,
        "user_id": order.user_id,
        "status": order_pb2.OrderStatus.Name(order.status),
        "reason_code": order.status_reason.code or None,
        "reason": order.status_reason.message or None,
        "total_price": _amount(order.total),
        "currency": order.total.currency_code,
        "updated_at": _time(order),
    }


def _amount(money: Money) -> Decimal:
    return Decimal(money.units) + Decimal(money.nanos).scaleb(-_NANO_DIGITS).normalize()


def _time(order: order_pb2.Order) -> datetime:
    return order.updated_at.ToDatetime(UTC)


def _fail(call: Any, address: str) -> NoReturn:
    """The error of a call (grpc.RpcError is one, though its type does not say so) as a line."""
    code: grpc.StatusCode = call.code()
    text = "no answer in time" if code is grpc.StatusCode.DEADLINE_EXCEEDED else _bad_fields(call) or call.details()
    fail(f"{code.name} from {address}: {text}", _EXIT_CODES.get(code, FAILED))


def _bad_fields(call: Any) -> str:
    """Each bad field by its name, with what is wrong with it; empty if that is not what was wrong."""
    status, bad = Status(), BadRequest()
    for key, value in call.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            status.ParseFromString(value)
    for detail in status.details:
        if detail.Unpack(bad):
            return "; ".join(f"{field.field} {field.description}" for field in bad.field_violations)
    return ""
