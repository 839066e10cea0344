"""What is known inside, as protobuf."""

from datetime import UTC, datetime
from functools import cache
from typing import Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.money_pb2 import Money as MoneyProto

from order_service.domain.money import Money
from order_service.domain.order import Item, Order, Reason
from order_service.domain.status import OrderStatus
from order_service.pb import order_pb2
from order_service.storage.events import RecordedEvent
from order_service.storage.outbox import UnsentEvent
from order_service.use_cases.explain_order import Explanation

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DAY_SECONDS: Final = 86_400


def order_answer(order: Order) -> order_pb2.Order:
    """An order, its amounts in both forms."""
    answer = order_pb2.Order(
        id=str(order.order_id),
        user_id=order.user_id,
        total_price=order.total.double(),
        status=_status(order.status),
        etag=order.etag,
    )
    # Messages within it are filled in place: given as values they would be made, and then copied.
    for item in order.items:
        _fill_item(answer.items.add(), item)
    _fill_money(answer.total, order.total)
    _fill_timestamp(answer.created_at, order.created_at)
    _fill_timestamp(answer.updated_at, order.updated_at)
    if order.reason:
        answer.status_reason.CopyFrom(_reason(order.reason))
    return answer


def event_answer(event: RecordedEvent) -> order_pb2.OrderEvent:
    """A line of the history."""
    return order_pb2.OrderEvent(
        id=str(event.event_id),
        type=event.type.value,
        version=event.version,
        status=_status(event.status),
        occurred_at=_timestamp(event.occurred_at),
        body=event.body,
        confirmed_at=_timestamp(event.confirmed_at) if event.confirmed_at else None,
    )


def explanation_answer(explanation: Explanation) -> order_pb2.ExplainOrderResponse:
    """Why an order is where it is."""
    saga, order = explanation.saga, explanation.order
    waited = Duration()
    waited.FromTimedelta(explanation.waited)
    return order_pb2.ExplainOrderResponse(
        sentence=explanation.sentence,
        status=_status(order.status),
        status_reason=_reason(order.reason) if order.reason else None,
        waiting_for=explanation.waiting_for,
        waited=waited if explanation.waiting_for else None,
        deadline_at=_timestamp(saga.deadline_at) if saga.deadline_at else None,
        steps=[order_pb2.SagaStep(name=name.value, state=state.value) for name, state in saga.steps.items()],
        unsent_events=[_unsent(event) for event in explanation.unsent],
        last_event=event_answer(explanation.last_event) if explanation.last_event else None,
    )


def _fill_item(answer: order_pb2.OrderItem, item: Item) -> None:
    answer.product_id = item.product_id
    answer.quantity = item.quantity
    answer.price = item.unit_price.double()
    _fill_money(answer.unit_price, item.unit_price)


def _fill_money(answer: MoneyProto, money: Money) -> None:
    answer.currency_code = money.currency
    answer.units, answer.nanos = money.units_and_nanos()


@cache
def _status(status: OrderStatus) -> order_pb2.OrderStatus.ValueType:
    return order_pb2.OrderStatus.Value(status.value)


def _reason(reason: Reason) -> order_pb2.StatusReason:
    return order_pb2.StatusReason(code=reason.code.value, message=reason.text)


def _unsent(event: UnsentEvent) -> order_pb2.UnsentEvent:
    return order_pb2.UnsentEvent(
        type=event.type.value,
        version=event.version,
        attempts=event.attempts,
        next_attempt_at=_timestamp(event.due_at) if event.due_at else None,
        last_failure=event.last_failure,
    )


def _timestamp(moment: datetime) -> Timestamp:
    answer = Timestamp()
    _fill_timestamp(answer, moment)
    return answer


def _fill_timestamp(answer: Timestamp, moment: datetime) -> None:
    """Four times as fast as protobuf's own way."""
    since = moment - _EPOCH
    answer.seconds = since.days * _DAY_SECONDS + since.seconds
    answer.nanos = since.microseconds * 1_000
