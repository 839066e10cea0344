"""Calls of the service, and their failures as a gateway sees them."""

from collections.abc import AsyncIterable, Awaitable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc
import pytest
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from order_service.pb import order_pb2

T = TypeVar("T")


def an_item(product: str = "tea", quantity: int = 2, price: float = 19.99) -> order_pb2.OrderItem:
    return order_pb2.OrderItem(product_id=product, quantity=quantity, price=price)


def an_order(user: str = "ada", *items: order_pb2.OrderItem, request_id: str = "") -> order_pb2.CreateOrderRequest:
    """A request that is right in everything."""
    return order_pb2.CreateOrderRequest(user_id=user, items=items or (an_item(),), request_id=request_id)


@dataclass(frozen=True, slots=True)
class Failure:
    """An error as it comes over the wire: the code and text of the trailers, and what its details hold."""

    code: grpc.StatusCode
    text: str
    info: ErrorInfo
    violations: Mapping[str, str]
    retry_seconds: float
    raw: bytes


async def failure_of(call: Awaitable[Any]) -> Failure:
    """How a call fails."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call

    error = raised.value
    details = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin", b"")
    raw = details.encode() if isinstance(details, str) else details
    status = Status.FromString(raw)
    if raw:
        # AIP-193: the details say the same as the trailers.
        assert (status.code, status.message) == (error.code().value[0], error.details())
    return _failure(error.code(), error.details() or "", status, raw)


def failure_in(status: Status) -> Failure:
    """What a google.rpc.Status within an answer says."""
    code = next(code for code in grpc.StatusCode if code.value[0] == status.code)
    return _failure(code, status.message, status, status.SerializeToString())


def _failure(code: grpc.StatusCode, text: str, status: Status, raw: bytes) -> Failure:
    info, bad, retry = ErrorInfo(), BadRequest(), RetryInfo()
    for detail in status.details:
        assert sum(detail.Unpack(kind) for kind in (info, bad, retry)) == 1
    violations = {violation.field: violation.description for violation in bad.field_violations}
    assert len(violations) == len(bad.field_violations)
    return Failure(code, text, info, violations, retry.retry_delay.seconds, raw)


def failures_in(batch: order_pb2.BatchCreateOrdersResponse) -> dict[int, Failure]:
    """The errors in the answer to a batch, by their places."""
    return {
        place: failure_in(one.error) for place, one in enumerate(batch.results) if one.WhichOneof("result") == "error"
    }


async def all_of(stream: AsyncIterable[T]) -> list[T]:
    """Everything that a stream gives."""
    return [answer async for answer in stream]
