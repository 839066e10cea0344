"""A consumer span for each message, in the trace it came with."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from opentelemetry import trace

from order_service.broker.consumer import Incoming
from order_service.broker.topology import ReplyQueue
from order_service.messages.incoming import traceparent_in
from order_service.telemetry.traces import context_from_traceparent, is_sampled, traceparent_of


@contextmanager
def processing(batch: Sequence[Incoming], queue: ReplyQueue) -> Iterator[list[str]]:
    """Spans around a batch's handling, for the messages whose trace is sampled; gives the trace context in which each
    message has its effect, empty if it came with none (OpenTelemetry semantic conventions, messaging)."""
    tracer = trace.get_tracer("order_service.inbox")
    spans: list[trace.Span] = []
    traceparents = [traceparent_in(message.headers) for message in batch]
    for place, (message, traceparent) in enumerate(zip(batch, traceparents, strict=True)):
        if not is_sampled(traceparent):
            continue
        span = tracer.start_span(
            f"process {queue.source}",
            context=context_from_traceparent(traceparent),
            kind=trace.SpanKind.CONSUMER,
            attributes={
                "messaging.system": "rabbitmq",
                "messaging.operation.type": "process",
                "messaging.destination.name": queue.name,
                "messaging.batch.message_count": len(batch),
                "messaging.message.body.size": len(message.body),
            },
        )
        spans.append(span)
        traceparents[place] = traceparent_of(span)
    try:
        yield traceparents
    finally:
        for span in spans:
            span.end()
