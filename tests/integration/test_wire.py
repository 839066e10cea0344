"""Events as they are on the wire: CloudEvents, AMQP properties, bodies, and both ways to get them."""

import json
import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import aio_pika
from aio_pika.abc import AbstractIncomingMessage
from cloudevents.core.bindings.rabbitmq import RabbitMQMessage, from_binary
from cloudevents.core.formats.json import JSONFormat

from order_service.pb import order_pb2
from tests.integration.calls import an_item, an_order
from tests.integration.conftest import Shared
from tests.integration.peers import Recorder, Source, StockService, bound_queue, success
from tests.integration.platform import gateway
from tests.waiting import eventually


async def test_an_event_is_a_cloud_event_in_binary_mode(shared: Shared, user: str) -> None:
    async with Recorder.running(shared.platform) as recorder, gateway(shared.api) as stub:
        order = (await stub.CreateOrder(an_order(user))).order
        message = await eventually(lambda: message_of(recorder, order.id))

    headers = {name: str(value) for name, value in message.headers.items()}
    event = from_binary(RabbitMQMessage(headers, message.content_type, message.body), JSONFormat())
    assert event.get_id() == message.message_id
    assert event.get_type() == "order.created"
    assert event.get_source() == "/order-service"
    assert event.get_subject() == order.id
    assert event.get_specversion() == "1.0"
    assert event.get_datacontenttype() == "application/json"
    assert event.get_time() == order.created_at.ToDatetime(UTC)
    data = event.get_data()
    assert isinstance(data, dict)
    assert data["order_id"] == order.id


async def test_an_event_is_persistent_and_named(shared: Shared, user: str) -> None:
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    metadata = (("traceparent", f"00-{trace_id}-b7ad6b7169203331-00"),)

    async with Recorder.running(shared.platform) as recorder, gateway(shared.api) as stub:
        order = (await stub.CreateOrder(an_order(user), metadata=metadata)).order
        message = await eventually(lambda: message_of(recorder, order.id))

    assert message.delivery_mode == aio_pika.DeliveryMode.PERSISTENT
    assert (message.exchange, message.routing_key, message.type) == ("order.events", "order.created", "order.created")
    assert UUID(message.message_id).version == 7
    assert message.timestamp is not None
    assert abs(message.timestamp - datetime.now(UTC)) < timedelta(minutes=1)
    assert str(message.headers["traceparent"]).split("-")[1] == trace_id
    assert not message.redelivered


async def test_numbers_are_exact_and_items_are_sorted(shared: Shared, user: str) -> None:
    items = [an_item("tea", 3, 19.99), an_item("cup", 1, 0.1), an_item("pot", 2, 9_999_999_999.5), an_item("box", 7, 0)]

    async with Recorder.running(shared.platform) as recorder, gateway(shared.api) as stub:
        order = (await stub.CreateOrder(an_order(user, *items))).order
        message = await eventually(lambda: message_of(recorder, order.id))

    body = json.loads(message.body, parse_float=Decimal)
    assert body["items"] == [
        {"product_id": "box", "quantity": 7, "price": Decimal("0.00")},
        {"product_id": "cup", "quantity": 1, "price": Decimal("0.10")},
        {"product_id": "pot", "quantity": 2, "price": Decimal("9999999999.50")},
        {"product_id": "tea", "quantity": 3, "price": Decimal("19.99")},
    ]
    assert all(isinstance(item["price"], Decimal) and isinstance(item["quantity"], int) for item in body["items"])
    assert body["total_price"] == Decimal("20000000059.07")
    assert isinstance(body["total_price"], Decimal)
    assert (body["user_id"], body["status"], body["version"], body["currency"]) == (user, "PENDING", 1, "USD")
    assert datetime.fromisoformat(body["occurred_at"]) == order.created_at.ToDatetime(UTC)


async def test_the_platforms_fanouts_carry_the_same_bodies(shared: Shared, user: str) -> None:
    confirmed: list[AbstractIncomingMessage] = []
    cart = Source("cart_service_order_confirmed_queue", "order_confirmed_exchange", "fanout")

    async with (
        StockService.running(shared.platform, success) as stock,
        Recorder.running(shared.platform) as recorder,
        shared.platform.broker() as channel,
        gateway(shared.api) as stub,
    ):

        async def on_confirmed(message: AbstractIncomingMessage) -> None:
            confirmed.append(message)
            await message.ack()

        await (await bound_queue(channel, cart)).consume(on_confirmed)
        order = (await stub.CreateOrder(an_order(user))).order
        await eventually(lambda: bodies_about(order.id, confirmed) and len(recorder.types_of(order.id)) == 2)

    created_body, confirmed_body = bodies_about(order.id, recorder.messages)
    assert bodies_about(order.id, stock.messages) == [created_body]
    assert bodies_about(order.id, confirmed) == [confirmed_body]
    assert json.loads(confirmed_body).keys() == {"order_id", "user_id", "status", "version", "occurred_at"}


async def test_every_event_says_who_what_and_when(shared: Shared, user: str) -> None:
    before = time.time()

    async with (
        StockService.running(shared.platform, success),
        Recorder.running(shared.platform) as recorder,
        gateway(shared.api) as stub,
    ):
        order = (await stub.CreateOrder(an_order(user))).order
        await eventually(lambda: len(recorder.types_of(order.id)) == 2)
        await stub.CancelOrder(order_pb2.CancelOrderRequest(order_id=order.id, user_id=user, reason="é"))
        await eventually(lambda: len(recorder.types_of(order.id)) == 4)
        events = recorder.of_order(order.id)

    assert [(event["type"], event["version"], event["status"]) for event in events] == [
        ("order.created", 1, "PENDING"),
        ("order.confirmed", 2, "CONFIRMED"),
        ("order.cancelled", 3, "CANCELLED"),
        ("order.stock_release_requested", 4, "CANCELLED"),
    ]
    assert {event["user_id"] for event in events} == {user}
    times = [datetime.fromisoformat(event["occurred_at"]).timestamp() for event in events]
    assert before - 1 < times[0] <= times[1] < times[2] <= times[3] < time.time() + 1
    assert (events[2]["reason_code"], events[2]["reason"]) == ("CANCELLED_BY_OWNER", "é")
    assert events[3]["items"] == events[0]["items"]


def bodies_about(order_id: str, messages: Iterable[AbstractIncomingMessage]) -> list[bytes]:
    """Those of one order: the queues outlive a test."""
    return [message.body for message in messages if json.loads(message.body)["order_id"] == order_id]


def message_of(recorder: Recorder, order_id: str) -> AbstractIncomingMessage | None:
    """The first message about an order."""
    return next((message for message in recorder.messages if json.loads(message.body)["order_id"] == order_id), None)
