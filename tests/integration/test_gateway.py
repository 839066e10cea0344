"""A gateway that was built from the contract's table before this service existed, and is not rebuilt for it."""

import struct
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import grpc
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, empty_pb2, message_factory, timestamp_pb2
from google.protobuf.unknown_fields import UnknownFieldSet

from tests.integration.conftest import Shared
from tests.integration.peers import StockService, refusal, success
from tests.integration.platform import Running
from tests.waiting import eventually

_Field = descriptor_pb2.FieldDescriptorProto
_STRING, _INT32, _DOUBLE = _Field.TYPE_STRING, _Field.TYPE_INT32, _Field.TYPE_DOUBLE
_ITEMS, _ORDER, _STATUS, _TIME = "+.order.OrderItem", ".order.Order", ".order.OrderStatus", ".google.protobuf.Timestamp"

MESSAGES: dict[str, list[tuple[str, int, int | str]]] = {
    "OrderItem": [("product_id", 1, _STRING), ("quantity", 2, _INT32), ("price", 3, _DOUBLE)],
    "Order": [
        ("id", 1, _STRING),
        ("user_id", 2, _STRING),
        ("items", 3, _ITEMS),
        ("total_price", 4, _DOUBLE),
        ("status", 5, _STATUS),
        ("created_at", 6, _TIME),
    ],
    "CreateOrderRequest": [("user_id", 1, _STRING), ("items", 2, _ITEMS)],
    "CreateOrderResponse": [("order", 1, _ORDER)],
    "GetOrderRequest": [("order_id", 1, _STRING), ("user_id", 2, _STRING)],
    "GetOrderResponse": [("order", 1, _ORDER)],
}
"""The contract's table: each message's fields, their numbers and types. "+" stands for repeated."""

STATUSES = {"ORDER_STATUS_UNSPECIFIED": 0, "PENDING": 1, "CONFIRMED": 2, "CANCELLED": 3}
_VARINT, _FIXED64, _LENGTH_DELIMITED = 0, 1, 2


class OldGateway:
    """Knows the messages of the table and the names of two methods, and nothing else."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel
        pool = descriptor_pool.DescriptorPool()
        pool.AddSerializedFile(timestamp_pb2.DESCRIPTOR.serialized_pb)
        pool.AddSerializedFile(_table().SerializeToString())
        self._messages = {
            name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"order.{name}")) for name in MESSAGES
        }

    @classmethod
    @asynccontextmanager
    async def calling(cls, api: Running) -> AsyncIterator["OldGateway"]:
        """In plaintext."""
        async with grpc.aio.insecure_channel(f"127.0.0.1:{api.ports['grpc']}") as channel:
            yield cls(channel)

    async def create(self, **fields: Any) -> Any:
        """CreateOrder, with no deadline."""
        return await self._call("CreateOrder", fields)

    async def get(self, **fields: Any) -> Any:
        """GetOrder, with no deadline."""
        return await self._call("GetOrder", fields)

    async def _call(self, method: str, fields: dict[str, Any]) -> Any:
        request = self._messages[f"{method}Request"](**fields)
        answer: Any = self._messages[f"{method}Response"]
        return answer.FromString(await self.raw(method, request.SerializeToString())).order

    async def raw(self, method: str, request: bytes) -> bytes:
        """The bytes of an answer."""
        call: Any = self._channel.unary_unary(f"/order.OrderService/{method}")
        answer: bytes = await call(request)
        return answer


def _table() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(
        name="gateway/order.proto", package="order", syntax="proto3", dependency=["google/protobuf/timestamp.proto"]
    )
    values = [descriptor_pb2.EnumValueDescriptorProto(name=name, number=number) for name, number in STATUSES.items()]
    file.enum_type.add(name="OrderStatus", value=values)
    for name, fields in MESSAGES.items():
        file.message_type.add(name=name, field=[_field(*field) for field in fields])
    return file


def _field(name: str, number: int, kind: int | str) -> descriptor_pb2.FieldDescriptorProto:
    field = _Field(name=name, number=number, label=_Field.LABEL_OPTIONAL)
    if isinstance(kind, int):
        field.type = kind  # type: ignore[assignment]
        return field
    if kind.startswith("+"):
        field.label = _Field.LABEL_REPEATED
    field.type = _Field.TYPE_ENUM if kind == _STATUS else _Field.TYPE_MESSAGE
    field.type_name = kind.removeprefix("+")
    return field


TWO_ITEMS = [
    {"product_id": "tea", "quantity": 3, "price": 19.99},
    {"product_id": "cup", "quantity": 1, "price": 0.1},
]


async def test_a_created_order_reads_as_the_table_says(shared: Shared, user: str) -> None:
    before = time.time()

    async with OldGateway.calling(shared.api) as gateway:
        order = await gateway.create(user_id=user, items=TWO_ITEMS)

    assert UUID(order.id).version == 7
    assert order.user_id == user
    assert [(item.product_id, item.quantity, item.price) for item in order.items] == [
        ("cup", 1, 0.1),
        ("tea", 3, 19.99),
    ]
    assert order.total_price == 60.07
    assert order.status == STATUSES["PENDING"]
    assert before - 1 < order.created_at.ToMilliseconds() / 1000 < time.time() + 1


async def test_get_gives_the_order_that_was_created(shared: Shared, user: str) -> None:
    async with OldGateway.calling(shared.api) as gateway:
        created = await gateway.create(user_id=user, items=TWO_ITEMS)
        found = await gateway.get(order_id=created.id, user_id=user)

    assert found.id == created.id
    assert found.created_at == created.created_at
    assert (found.items, found.total_price, found.status) == (created.items, created.total_price, created.status)


@pytest.mark.parametrize("price", [0.0, 0.01, 19.99, 1234567.89, 9999999999999.99])
async def test_a_price_comes_back_as_the_double_that_was_sent(shared: Shared, user: str, price: float) -> None:
    async with OldGateway.calling(shared.api) as gateway:
        order = await gateway.create(user_id=user, items=[{"product_id": "tea", "quantity": 1, "price": price}])

    assert order.items[0].price == price
    assert order.total_price == price


async def test_new_fields_have_new_numbers_on_the_wire(shared: Shared, user: str) -> None:
    request = b"\x0a" + bytes([len(user)]) + user.encode() + b"\x12\x10\x0a\x03tea\x10\x02\x19" + _double(1.5)

    async with OldGateway.calling(shared.api) as gateway:
        answer = await gateway.raw("CreateOrder", request)

    (order,) = _fields(answer)
    numbers = {number: wire_type for number, wire_type, _ in _fields(order[2])}
    assert order[:2] == (1, _LENGTH_DELIMITED)
    assert {number: kind for number, kind in numbers.items() if number <= 6} == {
        1: _LENGTH_DELIMITED,
        2: _LENGTH_DELIMITED,
        3: _LENGTH_DELIMITED,
        4: _FIXED64,
        5: _VARINT,
        6: _LENGTH_DELIMITED,
    }
    assert max(numbers) > 6


@pytest.mark.parametrize(("answer", "status"), [(success, "CONFIRMED"), (refusal, "CANCELLED")])
async def test_the_outcome_has_the_number_that_the_gateway_knows(
    shared: Shared, user: str, answer: Any, status: str
) -> None:
    async with StockService.running(shared.platform, answer), OldGateway.calling(shared.api) as gateway:
        created = await gateway.create(user_id=user, items=TWO_ITEMS)

        async def outcome() -> Any:
            order = await gateway.get(order_id=created.id, user_id=user)
            return order if order.status != STATUSES["PENDING"] else None

        order = await eventually(outcome)

    assert order.status == STATUSES[status]


async def test_an_error_is_an_error_of_grpc(shared: Shared) -> None:
    async with OldGateway.calling(shared.api) as gateway:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await gateway.create(user_id="", items=TWO_ITEMS)

    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def _double(value: float) -> bytes:
    return struct.pack("<d", value)


def _fields(message: bytes) -> list[tuple[int, int, Any]]:
    """Number, wire type and content of each field, whatever it means."""
    parsed = empty_pb2.Empty()
    parsed.ParseFromString(message)
    fields: Any = UnknownFieldSet(parsed)
    return [(field.field_number, field.wire_type, field.data) for field in fields]
