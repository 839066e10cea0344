"""Logs: one JSON object on each line of standard output, the libraries' warnings included.

Every line has `timestamp` (UTC, ISO 8601), `level` and `event`; within a span also `trace_id` and `span_id`; with an
exception also `exception.type`, `exception.message` and `exception.stacktrace` (OpenTelemetry's names). Credentials are
redacted once a line has all that it tells, so that nothing can bring them back. Each call costs a line, so there are
few processors.
"""

import json
import logging
import sys
import traceback
from collections.abc import MutableMapping
from datetime import UTC, datetime
from typing import Any

import msgspec
import structlog
from opentelemetry import trace

from order_service.telemetry.output import Output
from order_service.telemetry.redaction import redacted_entries

_Entries = MutableMapping[str, Any]
_encoder = msgspec.json.Encoder(uuid_format="canonical")


def configure(level: str, format: str) -> None:
    """Logs at `level` ("info") and above, as "json" or, for people, "console". Libraries log at WARNING and above."""
    shown = logging.getLevelNamesMapping()[level.upper()]
    output = Output(sys.stdout.buffer)
    structlog.configure(
        processors=[
            _add_exception,
            _redact,
            _frame,
            _to_json if format == "json" else _to_console(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(shown),
        logger_factory=lambda *_: output,
        cache_logger_on_first_use=True,
    )
    _route_libraries(max(shown, logging.WARNING))


def _route_libraries(level: int) -> None:
    root = logging.getLogger()
    root.handlers[:] = [_ToStructlog()]
    root.setLevel(level)
    logging.captureWarnings(True)
    # An error with a trace for each caller who goes away from a stream, and nothing wrong: its context is gone with it.
    logging.getLogger("opentelemetry.context").setLevel(logging.CRITICAL)


class _ToStructlog(logging.Handler):
    """Gives the records of the standard library's logging to structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            log = structlog.get_logger()
            log.log(record.levelno, record.getMessage(), logger=record.name, exc_info=record.exc_info)
        except Exception:
            self.handleError(record)


def _add_exception(_logger: object, _method: str, entries: _Entries) -> _Entries:
    error = _error(entries.pop("exc_info", None))
    if error is not None:
        entries["exception.type"] = type(error).__qualname__
        entries["exception.message"] = str(error)
        entries["exception.stacktrace"] = "".join(traceback.format_exception(error))
    return entries


def _error(exc_info: object) -> BaseException | None:
    match exc_info:
        case BaseException():
            return exc_info
        case (_, BaseException() as error, _):
            return error
        case True:
            return sys.exc_info()[1]
        case _:
            return None


def _redact(_logger: object, _method: str, entries: _Entries) -> _Entries:
    return redacted_entries(entries)


def _frame(_logger: object, method: str, entries: _Entries) -> _Entries:
    """The line: what is ours, and holds no credentials, around what was told."""
    now = datetime.now(UTC).isoformat(timespec="microseconds").removesuffix("+00:00")
    line = {"timestamp": f"{now}Z", "level": method, "event": entries.pop("event"), **entries}
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        line["trace_id"] = f"{context.trace_id:032x}"
        line["span_id"] = f"{context.span_id:016x}"
    return line


def _to_json(_logger: object, _method: str, line: _Entries) -> bytes:
    try:
        return _encoder.encode(line)
    except (UnicodeEncodeError, OverflowError):
        # Lone surrogates and numbers above 64 bits: valid in JSON, but slower to write.
        return json.dumps(line, default=str).encode()


def _to_console() -> structlog.typing.Processor:
    render = structlog.dev.ConsoleRenderer(colors=sys.stdout.isatty())

    def to_console(logger: object, method: str, entries: _Entries) -> bytes:
        stacktrace = entries.pop("exception.stacktrace", "")
        return f"{render(logger, method, entries)}\n{stacktrace}".rstrip().encode(errors="replace")

    return to_console
