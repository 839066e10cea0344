"""A producer span for each event that is sent, in the trace in which the event came about."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from uuid import UUID

from opentelemetry import trace

from order_service.broker.topology import EVENTS_EXCHANGE
from order_service.storage.outbox import DueEvent
from order_service.telemetry.traces import context_from_traceparent, is_sampled, traceparent_of


@contextmanager
def sending(window: Sequence[DueEvent]) -> Iterator[Mapping[UUID, str]]:
    """Spans around a window's publishing, for the events whose trace is sampled, and the context to send with each
    (OpenTelemetry semantic conventions, messaging)."""
    tracer = trace.get_tracer("order_service.outbox")
    spans = {
        due.event.event_id: tracer.start_span(
            f"send {due.event.type.value}",
            context=context_from_traceparent(due.event.traceparent),
            kind=trace.SpanKind.PRODUCER,
            attributes={
                "messaging.system": "rabbitmq",
                "messaging.operation.type": "send",
                "messaging.destination.name": EVENTS_EXCHANGE,
                "messaging.rabbitmq.destination.routing_key": due.event.type.value,
                "messaging.message.id": str(due.event.event_id),
            },
        )
        for due in window
        if is_sampled(due.event.traceparent)
    }
    try:
        yield {event_id: traceparent_of(span) for event_id, span in spans.items()}
    finally:
        for span in spans.values():
            span.end()
