"""What goes wrong in deciding, and in carrying out what was decided."""

from tests.faults.planted import scenarios as play
from tests.faults.planted.planting import Edit, Planted

ORDERS_SQL = "storage/sql/orders.sql"
SAGAS_SQL = "storage/sql/sagas.sql"
ENGINE = "saga/engine.py"
ADVANCE = "use_cases/advance_sagas.py"

OF_THE_SAGA = (
    Planted(
        "A late success is ignored",
        play.every_path,
        (
            Edit(
                ENGINE,
                "            return Decision(Outcome.LATE, _with_step(saga, step, StepState.UNDONE), "
                "emits=(step.undo,))",
                "            return Decision(Outcome.IGNORED, saga)",
            ),
        ),
    ),
    Planted(
        "A late success confirms an order that was cancelled",
        play.every_path,
        (
            Edit(
                ENGINE,
                "            return Decision(Outcome.LATE, _with_step(saga, step, StepState.UNDONE), "
                "emits=(step.undo,))",
                "            return _advance(saga, {**saga.steps, step.name: StepState.HELD}, now, timeouts)",
            ),
        ),
    ),
    Planted(
        "A late success is undone twice",
        play.every_path,
        (
            Edit(
                ENGINE,
                "_with_step(saga, step, StepState.UNDONE), emits=(step.undo,))",
                "_with_step(saga, step, StepState.UNDONE), emits=(step.undo, step.undo))",
            ),
        ),
    ),
    Planted(
        "What a cancelled order holds is not undone",
        play.every_path,
        (
            Edit(
                ENGINE,
                "(EventType.ORDER_CANCELLED, *(STEPS[name].undo for name in reversed(held)))",
                "(EventType.ORDER_CANCELLED,)",
            ),
        ),
    ),
    Planted(
        "A refused payment does not release the stock",
        play.every_path,
        (
            Edit(
                ENGINE,
                '            return _undo(refused, Reason(step.refused, reason or f"{step.name} was refused '
                'without a reason"))',
                '            return replace(_undo(refused, Reason(step.refused, "")), '
                "emits=(EventType.ORDER_CANCELLED,))",
            ),
        ),
    ),
    Planted(
        "A failure that comes after the success cancels the order",
        play.every_path,
        (
            Edit(
                ENGINE,
                "        case StepState.ASKED, False:",
                "        case (StepState.ASKED | StepState.HELD), False:",
            ),
        ),
    ),
    Planted(
        "The payment step is left out",
        play.every_path,
        (
            Edit(
                ENGINE,
                "    if waiting is None:\n        done",
                "    if waiting is None or waiting.name is StepName.PAYMENT:\n        done",
            ),
        ),
    ),
    Planted(
        "Deadlines are kept an hour late",
        play.every_path,
        (
            *(
                Edit(
                    SAGAS_SQL,
                    f"where s.deadline_at <= now()\norder by s.deadline_at{end}",
                    f"where s.deadline_at <= now() - interval '1 hour'\norder by s.deadline_at{end}",
                )
                for end in ("\n", " desc\n")
            ),
        ),
    ),
    Planted(
        "Deadlines come early",
        play.every_path,
        (
            Edit(
                SAGAS_SQL,
                "timeout_seconds * interval '1 second', traceparent",
                "timeout_seconds * interval '100 milliseconds', traceparent",
            ),
        ),
    ),
    Planted(
        "The deadline acts on an order whose replies have all come",
        play.every_path,
        (
            Edit(
                ENGINE,
                "replace(saga, state=SagaState.COMPLETED, steps=steps, asked_at=None, deadline_at=None)",
                "replace(saga, state=SagaState.COMPLETED, steps=steps)",
            ),
            Edit(
                ENGINE,
                "    waiting = saga.waiting_step()\n    if waiting is None or saga",
                "    waiting = saga.waiting_step() or STEPS[StepName.STOCK]\n    if saga",
            ),
        ),
    ),
    Planted(
        "Two events of one decision get one version",
        play.every_path,
        (Edit(ADVANCE, "version=order.version + 1", "version=so_far.order.version + 1"),),
    ),
    Planted(
        "Orders are not locked while a reply or a cancellation is applied",
        play.a_cancellation_meets_a_reply,
        (Edit(ORDERS_SQL, "order by o.order_id\nfor no key update", "order by o.order_id"),),
    ),
    Planted(
        "A cancellation of a confirmed order is answered and not carried out",
        play.every_path,
        (Edit(ENGINE, "    if saga.state is SagaState.UNDONE:", "    if saga.state is not SagaState.RUNNING:"),),
    ),
    Planted(
        "A release lists no items",
        play.every_path,
        (Edit(ADVANCE, "events.StockReleaseRequested(items)", "events.StockReleaseRequested(items[:0])"),),
    ),
    Planted(
        "Prices are published in cents",
        play.every_path,
        (
            Edit(
                "messages/outgoing.py",
                "item.quantity, item.unit_price.decimal())",
                "item.quantity, Decimal(item.unit_price.minor))",
            ),
        ),
    ),
    Planted(
        "The status of an order's row is not written",
        play.every_path,
        (Edit(ORDERS_SQL, "set status = r.status, reason_code", "set reason_code"),),
    ),
)
