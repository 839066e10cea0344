"""The saga of an order, as a table: what each step asks for, what answers it, how it is undone."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from order_service.domain.events import EventType
from order_service.domain.status import ReasonCode


class StepName(StrEnum):
    """The steps that a saga can have."""

    STOCK = "stock"
    PAYMENT = "payment"


@dataclass(frozen=True, slots=True)
class Step:
    """One step: the event that asks for it, the reply that answers it, the event that undoes it, and the reasons with
    which the order is cancelled when it is refused or not answered in time."""

    name: StepName
    ask: EventType
    answered_by: str
    undo: EventType
    refused: ReasonCode
    timed_out: ReasonCode


ORDER_SAGA: Final = (
    Step(
        name=StepName.STOCK,
        ask=EventType.ORDER_CREATED,
        answered_by="StockUpdateResult",
        undo=EventType.STOCK_RELEASE_REQUESTED,
        refused=ReasonCode.STOCK_REFUSED,
        timed_out=ReasonCode.STOCK_TIMEOUT,
    ),
    Step(
        name=StepName.PAYMENT,
        ask=EventType.PAYMENT_REQUESTED,
        answered_by="PaymentResult",
        undo=EventType.PAYMENT_REFUND_REQUESTED,
        refused=ReasonCode.PAYMENT_REFUSED,
        timed_out=ReasonCode.PAYMENT_TIMEOUT,
    ),
)
"""All steps in the order in which they are taken. A saga may be started with some of them: see `engine.start`."""

STEPS: Final = {step.name: step for step in ORDER_SAGA}
