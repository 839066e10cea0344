"""Both sides of a row do the same: the same bytes, the same properties, the same orders."""

import json
from datetime import UTC, datetime
from uuid import UUID

from pamqp.commands import Basic

from order_service.messages.incoming import decode_reply
from order_service.saga.order_saga import StepName
from tests.bench.dbos_workflow import order_number
from tests.bench.events import PLACEHOLDER, created_body, event_message, template
from tests.bench.fill import success
from tests.bench.orders import create_request
from tests.bench.stock_stand_in import answer_to

ORDER_ID = UUID("0192f0c4-0000-7000-8000-00000000002a")


def test_a_body_of_the_limit_is_that_of_the_service_under_another_id() -> None:
    body = created_body(ORDER_ID)

    assert json.loads(body) == json.loads(template()) | {"order_id": str(ORDER_ID)}
    assert len(body) == len(template())
    assert str(PLACEHOLDER) not in body.decode()


def test_a_message_of_the_limit_has_the_properties_of_an_event() -> None:
    properties: Basic.Properties = event_message(ORDER_ID, created_body(ORDER_ID)).properties

    assert properties.delivery_mode == 2
    assert properties.message_type == "order.created"
    assert properties.app_id == "order-service"
    assert properties.timestamp == datetime(2026, 1, 1, 12, 30, 15, 123456, tzinfo=UTC)
    assert properties.headers == {
        "ce-specversion": "1.0",
        "ce-id": properties.message_id,
        "ce-source": "/order-service",
        "ce-type": "order.created",
        "ce-subject": str(ORDER_ID),
        "ce-time": "2026-01-01T12:30:15.123456Z",
    }


def test_messages_of_the_limit_have_ids_of_their_own() -> None:
    ids = {event_message(ORDER_ID, b"{}").message_id for _ in range(100)}

    assert len(ids) == 100


def test_replies_made_in_bulk_and_those_of_the_stand_in_are_successes_to_the_service() -> None:
    answers = [decode_reply(StepName.STOCK, reply) for reply in (success(ORDER_ID), answer_to(created_body(ORDER_ID)))]

    assert answers[0] == answers[1]
    assert answers[0][0] == ORDER_ID


def test_dbos_gets_the_orders_that_the_clients_create() -> None:
    order_id, user_id, items = order_number(7)

    request = create_request(7)
    assert UUID(order_id).version == 4
    assert user_id == request.user_id
    assert items == [(item.product_id, item.quantity, round(item.price * 100)) for item in request.items]
