"""What is told at the end."""

import json
from collections import Counter
from datetime import UTC, datetime, timedelta

from order_service.pb import order_pb2
from order_service.stress.measuring import Answer, Measured
from order_service.stress.outcomes import Outcomes
from order_service.stress.plan import Rpc
from order_service.stress.report import Report
from tests.unit.stress.plans import a_plan

CREATED = datetime(2026, 1, 31, 12, tzinfo=UTC)


def an_order(number: int, status: "order_pb2.OrderStatus.ValueType", seconds: float = 0.5) -> order_pb2.Order:
    order = order_pb2.Order(id=f"id-{number}", user_id=a_plan().user_of(number), status=status)
    order.created_at.FromDatetime(CREATED)
    order.updated_at.FromDatetime(CREATED + timedelta(seconds=seconds))
    return order


def measured_with(accepted: int, errors: tuple[str, ...] = (), unanswered: int = 0, **changes: object) -> Measured:
    """So many orders, sent in one call each; call k is answered at second k after k ms."""
    measured = Measured(a_plan(num=accepted + len(errors) + unanswered, **changes))
    answers = [Answer({number: an_order(number, order_pb2.PENDING)}, ()) for number in range(accepted)]
    answers += [Answer({}, [(code, f"text of {code}")]) for code in errors]
    for number in range(measured.plan.num):
        measured.on_sent(Rpc(number, 1), 0.0)
    for place, answer in enumerate(answers, 1):
        measured.on_answer(answer, place, place / 1_000)
    return measured


def outcomes_of(*orders: order_pb2.Order) -> Outcomes:
    outcomes = Outcomes()
    outcomes.add(orders, {order.id for order in orders})
    return outcomes


def told(report: Report) -> str:
    return "\n".join(report.lines(100))


def test_orders_per_second_are_those_accepted_until_the_last_answer() -> None:
    report = Report(measured_with(10), None, "", 0.1)

    assert (report.orders_per_second, report.problems, report.notes) == (1.0, [], [])
    assert "Every order was accepted." in told(report)


def test_failures_are_counted_by_code_with_the_first_text_of_each() -> None:
    report = Report(measured_with(8, ("UNAVAILABLE", "INTERNAL", "UNAVAILABLE")), None, "", 0.1)

    figures = report.as_json()

    assert (figures["ok"], figures["accepted"], figures["failed"]) == (False, 8, 3)
    assert figures["failed_by_code"] == {"UNAVAILABLE": 2, "INTERNAL": 1}
    assert figures["create_seconds"]["count"] == 8
    assert figures["failed_seconds"]["count"] == 3
    assert "WRONG: 2 orders failed with UNAVAILABLE: text of UNAVAILABLE" in told(report)


def test_a_batch_can_be_accepted_in_part() -> None:
    measured = Measured(a_plan(num=2, batch=2))
    measured.on_sent(Rpc(0, 2), 0.0)

    measured.on_answer(Answer({1: an_order(1, order_pb2.PENDING)}, [("INVALID_ARGUMENT", "bad")]), 1.0, 0.5)

    assert (measured.accepted, measured.failed, measured.unanswered) == (1, Counter(INVALID_ARGUMENT=1), 0)
    assert (measured.created.count, measured.refused.count) == (1, 0)


def test_what_was_not_answered_is_told_as_perhaps_created() -> None:
    report = Report(measured_with(8, unanswered=2), None, "SIGINT", 0.1)

    assert (report.as_json()["unanswered"], report.as_json()["interrupted"]) == (2, "SIGINT")
    assert "2 orders were sent and not answered: they may have been created" in told(report)


def test_what_could_not_be_sent_on_time_is_told() -> None:
    measured = Measured(a_plan(num=3, rate=100.0))
    for number, late_by in enumerate((0.001, 0.02, 1.5)):
        measured.on_sent(Rpc(number, 1), late_by)

    report = Report(measured, None, "", 0.1)

    assert (measured.late, measured.latest) == (2, 1.5)
    assert "2 orders could not be sent on time, the latest 1.50 s late" in told(report)


def test_a_program_that_is_itself_the_limit_says_so() -> None:
    report = Report(measured_with(1), None, "", 0.97)

    assert "this program used 97% of a processor" in told(report)


def test_time_to_outcome_is_that_between_creation_and_last_change() -> None:
    orders = [an_order(number, order_pb2.CONFIRMED, seconds) for number, seconds in enumerate((0.1, 0.2, 0.3))]
    outcomes = outcomes_of(*orders, an_order(3, order_pb2.CANCELLED, 60.0), an_order(4, order_pb2.PENDING, 0.0))

    figures = Report(measured_with(5), outcomes, "", 0.1).as_json()

    assert figures["outcomes"] == {"CANCELLED": 1, "CONFIRMED": 3, "PENDING": 1}
    assert (figures["outcome_seconds"]["count"], figures["outcome_seconds"]["max"]) == (4, 60.0)
    assert figures["notes"] == [
        "1 orders had no outcome when the waiting ended (--seconds): the times are those of the others"
    ]


def test_an_accepted_order_that_is_not_there_is_wrong() -> None:
    outcomes = Outcomes()
    outcomes.add([an_order(0, order_pb2.CONFIRMED)], {"id-0", "id-1"})

    report = Report(measured_with(2), outcomes, "", 0.1)

    assert report.problems == ["1 orders were accepted and are not there: id-1"]
    assert report.as_json()["missing"] == ["id-1"]


def test_an_order_that_is_there_although_its_answer_was_lost_is_no_problem() -> None:
    outcomes = Outcomes()
    outcomes.add([an_order(0, order_pb2.CONFIRMED), an_order(1, order_pb2.CONFIRMED)], {"id-0"})

    assert Report(measured_with(1), outcomes, "", 0.1).problems == []


def test_a_run_that_came_to_nothing_is_told_too() -> None:
    report = Report(Measured(a_plan()), Outcomes(), "SIGTERM", 0.0)

    assert report.as_json()["create_seconds"] is None
    assert report.as_json()["orders_per_second"] == 0.0
    assert "SIGTERM ended the run early: 1,000 orders were not sent" in told(report)


def test_the_json_is_json() -> None:
    report = Report(measured_with(3, ("INTERNAL",)), outcomes_of(an_order(0, order_pb2.CONFIRMED)), "", 0.5)

    assert json.loads(json.dumps(report.as_json())) == report.as_json()
