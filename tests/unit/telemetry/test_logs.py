"""Logs as they arrive on standard output."""

import json
import logging
import warnings
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
import structlog
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from order_service.telemetry import logs

Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    logging.captureWarnings(False)
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


@pytest.fixture
def lines(capfdbinary: pytest.CaptureFixture[bytes]) -> Lines:
    return lambda: [json.loads(line) for line in capfdbinary.readouterr().out.splitlines()]


def test_a_line_is_json_with_a_time_a_level_and_an_event(lines: Lines) -> None:
    logs.configure("info", "json")

    structlog.get_logger().info("order.created", order_id=UUID(int=1), total=Decimal("19.90"), items=[1, None])

    (line,) = lines()
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "level": "info",
        "event": "order.created",
        "order_id": "00000000-0000-0000-0000-000000000001",
        "total": "19.90",
        "items": [1, None],
    }


def test_what_is_below_the_level_is_not_logged(lines: Lines) -> None:
    logs.configure("warning", "json")

    structlog.get_logger().info("quiet")

    assert lines() == []


def test_a_line_within_a_span_names_it_even_if_nothing_is_exported(lines: Lines) -> None:
    logs.configure("info", "json")
    tracer = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False).get_tracer("test")

    with tracer.start_as_current_span("work") as span:
        structlog.get_logger().info("within")
    structlog.get_logger().info("outside")

    within, outside = lines()
    assert within["trace_id"] == trace.format_trace_id(span.get_span_context().trace_id)
    assert within["span_id"] == trace.format_span_id(span.get_span_context().span_id)
    assert "trace_id" not in outside


def test_an_exception_is_told_in_fields(lines: Lines) -> None:
    logs.configure("info", "json")

    try:
        raise ConnectionError("cannot reach amqp://guest:hunter2@rabbitmq:5672/")
    except ConnectionError:
        structlog.get_logger().exception("relay.failed")

    (line,) = lines()
    assert line["level"] == "error"
    assert line["exception.type"] == "ConnectionError"
    assert line["exception.message"] == "cannot reach amqp://guest:***@rabbitmq:5672/"
    assert "Traceback" in line["exception.stacktrace"]
    assert "hunter2" not in line["exception.stacktrace"]


def test_an_exception_may_be_given_as_a_value(lines: Lines) -> None:
    logs.configure("info", "json")

    structlog.get_logger().warning("reply.failed", exc_info=ValueError("bad"))
    structlog.get_logger().warning("no.failure", exc_info=True)

    given, none = lines()
    assert given["exception.message"] == "bad"
    assert "exception.type" not in none
    assert "exc_info" not in none


def test_libraries_are_heard_from_warning_on_in_the_same_form(lines: Lines) -> None:
    logs.configure("debug", "json")

    logging.getLogger("aio_pika").info("chatter")
    logging.getLogger("aiormq.connection").warning("lost %s, 100%% gone", "amqp://u:hunter2@h/")

    (line,) = lines()
    assert (line["level"], line["logger"]) == ("warning", "aiormq.connection")
    assert line["event"] == "lost amqp://u:***@h/, 100% gone"


def test_a_librarys_exception_is_told_in_fields(lines: Lines) -> None:
    logs.configure("info", "json")

    try:
        raise RuntimeError("gone")
    except RuntimeError:
        logging.getLogger("asyncio").exception("Task exception was never retrieved")

    (line,) = lines()
    assert (line["level"], line["exception.type"]) == ("error", "RuntimeError")


def test_python_warnings_are_logged(lines: Lines) -> None:
    logs.configure("info", "json")

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        warnings.warn("old", DeprecationWarning, stacklevel=1)

    (line,) = lines()
    assert (line["level"], line["logger"]) == ("warning", "py.warnings")


def test_text_that_is_no_unicode_and_huge_numbers_are_logged_all_the_same(lines: Lines) -> None:
    logs.configure("info", "json")

    structlog.get_logger().info("odd", name="\udcff", number=2**70, price=Decimal("1.50"))

    (line,) = lines()
    assert (line["name"], line["number"], line["price"]) == ("\udcff", 2**70, "1.50")


def test_the_console_form_is_for_people(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    logs.configure("info", "console")

    structlog.get_logger().warning("relay.failed", url="amqp://u:hunter2@h/", exc_info=ValueError("bad"))

    text = capfdbinary.readouterr().out.decode()
    assert "relay.failed" in text
    assert "amqp://u:***@h/" in text
    assert text.rstrip().endswith("ValueError: bad")
