"""`docs/asyncapi.yaml` against the events, the topology and the headers of the code."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import yaml
from cloudevents.core.bindings.rabbitmq import RabbitMQMessage, from_binary
from cloudevents.core.formats.json import JSONFormat
from jsonschema import Draft202012Validator
from pamqp.commands import Basic
from pamqp.frame import unmarshal
from pamqp.header import ContentHeader

from order_service.broker.frames import Outgoing, frames
from order_service.broker.topology import EVENTS_EXCHANGE, FANOUTS, REPLY_QUEUES
from order_service.domain.events import EventType

DOCS = Path(__file__).parents[3] / "docs"
ASYNCAPI: dict[str, Any] = yaml.safe_load((DOCS / "asyncapi.yaml").read_text())
CHANNELS: dict[str, dict[str, Any]] = ASYNCAPI["channels"]
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def outgoing(traceparent: str) -> Outgoing:
    return Outgoing(
        event_id=UUID("0198f2c0-7b3a-7c11-9d5e-2f1a3b4c5d6e"),
        type=EventType.ORDER_CREATED.value,
        order_id=UUID("0198f2c0-7b3a-7c11-9d5e-2f1a3b4c5d6f"),
        occurred_at=datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC),
        traceparent=traceparent,
        body=b"{}",
    )


def properties_of(message: Outgoing) -> Basic.Properties:
    sent = frames(message, channel=1, exchange=EVENTS_EXCHANGE, routing_key=message.type, largest=131_064)
    method_size, _, _ = unmarshal(sent)
    _, _, header = unmarshal(sent[method_size:])
    assert isinstance(header, ContentHeader)
    return header.properties


def test_every_exchange_of_the_topology_is_a_channel_with_its_messages() -> None:
    expected = {EVENTS_EXCHANGE: [kind.value for kind in EventType]}
    expected |= {exchange: [kind.value] for exchange, kind in FANOUTS.items()}
    expected |= {queue.exchange: [queue.source] for queue in REPLY_QUEUES.values()}

    assert {name: list(channel["messages"]) for name, channel in CHANNELS.items()} == expected


def test_every_event_is_a_routing_key() -> None:
    assert CHANNELS[EVENTS_EXCHANGE]["parameters"]["type"]["enum"] == [kind.value for kind in EventType]


def test_exchanges_are_durable_and_fanout_but_for_our_own() -> None:
    exchanges = {name: channel["bindings"]["amqp"]["exchange"] for name, channel in CHANNELS.items()}

    assert all(exchange["name"] == name for name, exchange in exchanges.items())
    assert all(exchange["durable"] and not exchange["autoDelete"] for exchange in exchanges.values())
    assert {name for name, exchange in exchanges.items() if exchange["type"] == "topic"} == {EVENTS_EXCHANGE}
    assert {exchange["type"] for exchange in exchanges.values()} == {"topic", "fanout"}


def test_the_queues_of_replies_are_named() -> None:
    for queue in REPLY_QUEUES.values():
        assert f"`{queue.name}`" in CHANNELS[queue.exchange]["description"]


def test_each_message_refers_to_the_schema_of_its_name() -> None:
    messages = ASYNCAPI["components"]["messages"]
    schemas = {file.stem for file in (DOCS / "schemas").glob("*.json")}

    assert {name: message["payload"]["$ref"] for name, message in messages.items()} == {
        name: f"./schemas/{name}.json" for name in schemas
    }


@pytest.mark.parametrize("traceparent", ["", TRACEPARENT])
def test_headers_are_as_described(traceparent: str) -> None:
    schema = ASYNCAPI["components"]["schemas"]["EventHeaders"]

    headers = properties_of(outgoing(traceparent)).headers

    Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER).validate(headers)
    assert headers is not None
    assert headers.keys() == set(schema["required"]) | ({"traceparent"} if traceparent else set())


def test_a_message_is_a_cloudevent_to_the_cloudevents_library() -> None:
    message = outgoing(TRACEPARENT)
    properties = properties_of(message)
    headers = {name: str(value) for name, value in (properties.headers or {}).items()}

    event = from_binary(RabbitMQMessage(headers, properties.content_type, message.body), JSONFormat())

    assert (event.get_id(), event.get_type()) == (str(message.event_id), "order.created")
    assert (event.get_source(), event.get_subject()) == ("/order-service", str(message.order_id))
    assert event.get_time() == message.occurred_at
    assert event.get_datacontenttype() == "application/json"


def test_amqp_properties_are_as_described() -> None:
    message = outgoing("")

    properties = properties_of(message)

    assert properties.delivery_mode == ASYNCAPI["operations"]["publishEvents"]["bindings"]["amqp"]["deliveryMode"]
    assert (properties.message_id, properties.message_type) == (str(message.event_id), message.type)
    assert properties.timestamp == message.occurred_at.replace(microsecond=0)
