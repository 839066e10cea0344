"""What is published and understood against what `docs/asyncapi.yaml` and `docs/schemas/` say."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import yaml
from jsonschema import Draft202012Validator

from order_service.domain import events
from order_service.domain.events import EventType, Fact, OrderEvent
from order_service.domain.money import MAX_MINOR, Money
from order_service.domain.order import Item, Reason
from order_service.domain.status import OrderStatus, ReasonCode
from order_service.messages.incoming import decode_reply
from order_service.messages.outgoing import encode
from order_service.saga.order_saga import ORDER_SAGA

DOCS = Path(__file__).parents[3] / "docs"
ASYNCAPI: dict[str, Any] = yaml.safe_load((DOCS / "asyncapi.yaml").read_text())
SCHEMAS: dict[str, dict[str, Any]] = {
    file.stem: json.loads(file.read_text()) for file in (DOCS / "schemas").iterdir() if file.suffix == ".json"
}
REPLIES = {step.answered_by: step.name for step in ORDER_SAGA}

ITEMS = (Item("apple", 2, Money("USD", 1990)), Item("pear", 1, Money("USD", 0)))
EVENTS: list[tuple[OrderStatus, Fact]] = [
    (OrderStatus.PENDING, events.OrderCreated(ITEMS, Money("USD", 3980))),
    (OrderStatus.CONFIRMED, events.OrderConfirmed()),
    (OrderStatus.CANCELLED, events.OrderCancelled(Reason(ReasonCode.STOCK_REFUSED, "sold out"))),
    (OrderStatus.CANCELLED, events.StockReleaseRequested(ITEMS)),
    (OrderStatus.PENDING, events.PaymentRequested(Money("JPY", 100))),
    (OrderStatus.CANCELLED, events.PaymentRefundRequested(Money("BHD", MAX_MINOR))),
]


def event(status: OrderStatus, fact: Fact) -> OrderEvent:
    return OrderEvent(
        event_id=UUID("0198f2c0-7b3a-7c11-9d5e-2f1a3b4c5d6e"),
        order_id=UUID("0198f2c0-7b3a-7c11-9d5e-2f1a3b4c5d6f"),
        user_id="user-1",
        version=1,
        status=status,
        occurred_at=datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC),
        fact=fact,
    )


def validator(schema: dict[str, Any]) -> Draft202012Validator:
    return Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)


@pytest.mark.parametrize(("status", "fact"), EVENTS, ids=lambda value: type(value).__name__)
def test_an_event_is_what_its_schema_says_and_has_no_other_fields(status: OrderStatus, fact: Fact) -> None:
    happened = event(status, fact)
    schema = SCHEMAS[happened.type]

    body = json.loads(encode(happened))

    validator(schema).validate(body)
    assert body.keys() == schema["properties"].keys()


def test_every_event_type_has_an_example_here() -> None:
    assert [events.type_of[fact.__class__] for _, fact in EVENTS] == list(EventType)


def test_every_type_has_a_schema_and_every_schema_a_type() -> None:
    assert SCHEMAS.keys() == {*EventType, *REPLIES}


def test_every_schema_is_a_schema() -> None:
    for schema in SCHEMAS.values():
        Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("field", ["order_id", "user_id", "version", "occurred_at"])
def test_the_schemas_of_events_agree_on_what_all_events_have(field: str) -> None:
    descriptions = [SCHEMAS[name]["properties"][field] for name in EventType]

    assert all(description == descriptions[0] for description in descriptions)


def test_enumerations_are_those_of_the_code() -> None:
    reasons = SCHEMAS["order.cancelled"]["properties"]["reason_code"]["enum"]
    statuses = SCHEMAS["order.stock_release_requested"]["properties"]["status"]["enum"]

    assert reasons == list(ReasonCode)
    assert statuses == list(OrderStatus)


def test_amounts_are_numbers_with_the_currencys_decimals() -> None:
    created, refunded = encode(event(*EVENTS[0])), encode(event(*EVENTS[-1]))
    requested = encode(event(*EVENTS[-2]))

    assert '"price":19.90' in created
    assert '"total_price":39.80' in created
    assert '"amount":100,' in requested
    assert '"amount":999999999999.999,' in refunded


def test_amounts_survive_a_reader_that_keeps_decimals_and_one_that_keeps_doubles() -> None:
    text = encode(event(*EVENTS[0]))

    assert json.loads(text, parse_float=Decimal)["total_price"] == Decimal("39.80")
    assert json.loads(text)["total_price"] == 39.8


@pytest.mark.parametrize("name", REPLIES)
def test_every_example_of_a_reply_is_valid_and_understood(name: str) -> None:
    examples = ASYNCAPI["components"]["messages"][name]["examples"]

    understood = []
    for example in examples:
        validator(SCHEMAS[name]).validate(example["payload"])
        _, reply = decode_reply(REPLIES[name], json.dumps(example["payload"]).encode())
        understood.append((reply.success, reply.reason))

    assert understood == [(True, ""), (False, "sold out"), (False, ""), (True, "")]
