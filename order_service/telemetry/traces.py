"""Traces: OpenTelemetry spans, W3C trace context (`traceparent`) in text form, and links over long waits.

Without an endpoint nothing is recorded or sent, but every span still has valid ids, so that logs and messages can be
told apart by trace. With one, spans wait in a bounded queue for a thread of their own: a collector that is slow or gone
costs the spans that do not fit, a warning when that begins (and now and then while spans are lost), and one line when
it ends.
"""

import logging
from collections.abc import Sequence
from datetime import timedelta
from threading import Thread
from typing import Final

import structlog
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased, TraceIdRatioBased
from opentelemetry.trace import Link
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from order_service.telemetry.sampling import DrawnIds

_QUEUE: Final = 2_048
_BATCH: Final = 512
_DELAY_MS: Final = 1_000
_EXPORT_SECONDS: Final = 5.0
_SHUTDOWN: Final = timedelta(seconds=3)
_SAMPLED_FLAGS: Final = frozenset({"01", "03"})

_propagator = TraceContextTextMapPropagator()
_log = structlog.get_logger()


def configure(service_name: str, version: str, endpoint: str | None, sample_ratio: float) -> TracerProvider:
    """Makes the provider of this process and sets it for the libraries that look for one. Once in a process."""
    provider = tracer_provider(service_name, version, endpoint, sample_ratio)
    trace.set_tracer_provider(provider)
    return provider


def tracer_provider(service_name: str, version: str, endpoint: str | None, sample_ratio: float) -> TracerProvider:
    """A provider that keeps `sample_ratio` of the traces that begin here, and those that a caller keeps. `endpoint`
    is host:port or http://host:port (plaintext) or https://host:port (TLS); None: nothing is recorded."""
    resource = Resource.create({SERVICE_NAME: service_name, SERVICE_VERSION: version})
    if endpoint is None:
        return TracerProvider(sampler=ParentBased(ALWAYS_OFF), resource=resource, shutdown_on_exit=False)
    sampler = ParentBased(TraceIdRatioBased(sample_ratio))
    provider = TracerProvider(sampler=sampler, resource=resource, shutdown_on_exit=False, id_generator=DrawnIds())
    exporter = _CalmExporter(endpoint)
    provider.add_span_processor(
        BatchSpanProcessor(
            exporter, max_queue_size=_QUEUE, max_export_batch_size=_BATCH, schedule_delay_millis=_DELAY_MS
        )
    )
    return provider


def shutdown(provider: TracerProvider, within: timedelta = _SHUTDOWN) -> None:
    """Sends what waits, for at most this long. Blocks: call it from a thread when an event loop must go on."""
    thread = Thread(target=provider.shutdown, name="traces-shutdown", daemon=True)
    thread.start()
    thread.join(within.total_seconds())


def current_traceparent() -> str:
    """The current span as W3C Trace Context has it, or empty if there is none."""
    return traceparent_of(trace.get_current_span())


def is_sampled(traceparent: str) -> bool:
    """Whether the trace is kept, as its flags say: spans are only worth making for one that is."""
    return traceparent[-2:] in _SAMPLED_FLAGS


def traceparent_of(span: trace.Span) -> str:
    """A span as W3C Trace Context has it, or empty if it has no valid ids."""
    context = span.get_span_context()
    if not context.is_valid:
        return ""
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def context_from_traceparent(traceparent: str) -> Context:
    """A context whose current span is the remote one. Empty or malformed text: a context without a span."""
    return _propagator.extract({"traceparent": traceparent}, Context())


def link_to(traceparent: str) -> list[Link]:
    """A link to that span, for a span that begins much later than it. Empty or malformed text: no link."""
    context = trace.get_current_span(context_from_traceparent(traceparent)).get_span_context()
    return [Link(context)] if context.is_valid else []


class _CalmExporter(OTLPSpanExporter):
    """Says once that traces cannot be sent and once that they can again, where the library says so for each batch."""

    def __init__(self, endpoint: str) -> None:
        secure = endpoint.startswith("https://")
        address = endpoint if "://" in endpoint else f"http://{endpoint}"
        super().__init__(endpoint=address, insecure=not secure, timeout=_EXPORT_SECONDS)
        self._failing = False
        logging.getLogger("opentelemetry.exporter.otlp.proto.grpc.exporter").setLevel(logging.CRITICAL)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = super().export(spans)
        failed = result is not SpanExportResult.SUCCESS
        if failed and not self._failing:
            _log.warning("traces.export_failing", endpoint=self._endpoint)
        elif self._failing and not failed:
            _log.info("traces.export_recovered", endpoint=self._endpoint)
        self._failing = failed
        return result
