"""Traces against a real collector (gRPC on the loopback), and without one."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from queue import Queue
from time import monotonic

import grpc
import pytest
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)
from opentelemetry.sdk.trace import TracerProvider

from order_service.private_servers.ports import reserved_ports
from order_service.telemetry import traces

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
SAMPLED = f"00-{TRACE_ID}-b7ad6b7169203331-01"
NOT_SAMPLED = f"00-{TRACE_ID}-b7ad6b7169203331-00"


class Collector(TraceServiceServicer):
    """Keeps what it is sent."""

    def __init__(self) -> None:
        self.received: Queue[ExportTraceServiceRequest] = Queue()

    def Export(self, request: ExportTraceServiceRequest, context: grpc.ServicerContext) -> ExportTraceServiceResponse:
        self.received.put(request)
        return ExportTraceServiceResponse()


@contextmanager
def collecting() -> Iterator[tuple[Collector, str]]:
    collector, server = Collector(), grpc.server(ThreadPoolExecutor(1))
    add_TraceServiceServicer_to_server(collector, server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield collector, f"127.0.0.1:{port}"
    finally:
        server.stop(0).wait()


def provider(endpoint: str | None, ratio: float = 1.0) -> TracerProvider:
    return traces.tracer_provider("service-order", "1.2.3", endpoint, ratio)


@pytest.mark.parametrize("scheme", ["", "http://"])
def test_spans_reach_the_collector_in_plaintext_under_the_services_name(scheme: str) -> None:
    with collecting() as (collector, address):
        made = provider(scheme + address)
        with made.get_tracer("test").start_as_current_span("work"):
            pass
        traces.shutdown(made)
        request = collector.received.get(timeout=30)

    (spans,) = request.resource_spans
    resource = {attribute.key: attribute.value.string_value for attribute in spans.resource.attributes}
    assert (resource["service.name"], resource["service.version"]) == ("service-order", "1.2.3")
    assert spans.scope_spans[0].spans[0].name == "work"


def test_without_an_endpoint_spans_have_ids_but_are_not_recorded() -> None:
    made = provider(None)

    with made.get_tracer("test").start_as_current_span("work") as span:
        traceparent, recording = traces.current_traceparent(), span.is_recording()

    context = span.get_span_context()
    assert context.is_valid
    assert not recording
    assert not traces.is_sampled(traceparent)
    assert traceparent[:52] == f"00-{context.trace_id:032x}-{context.span_id:016x}"


@pytest.mark.parametrize(("caller", "kept"), [(SAMPLED, True), (NOT_SAMPLED, False)])
def test_what_the_caller_decided_about_its_trace_holds(caller: str, kept: bool) -> None:
    with collecting() as (_, address):
        made = provider(address, ratio=0.0 if kept else 1.0)
        context = traces.context_from_traceparent(caller)
        with made.get_tracer("test").start_as_current_span("work", context):
            traceparent = traces.current_traceparent()
        traces.shutdown(made)

    assert traceparent.startswith(f"00-{TRACE_ID}-")
    assert traces.is_sampled(traceparent) is kept


@pytest.mark.parametrize(("ratio", "kept"), [(0.0, False), (1.0, True)])
def test_the_ratio_decides_about_traces_that_begin_here(ratio: float, kept: bool) -> None:
    with collecting() as (_, address):
        made = provider(address, ratio)
        with made.get_tracer("test").start_as_current_span("work"):
            traceparent = traces.current_traceparent()
        traces.shutdown(made)

    assert traces.is_sampled(traceparent) is kept


def test_a_collector_that_is_gone_neither_slows_nor_stops_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    # Few batches, so that the exporter, which tries each of them twice, ends soon after.
    monkeypatch.setattr(traces, "_EXPORT_SECONDS", 1.5)
    monkeypatch.setattr(traces, "_QUEUE", 1_024)
    with reserved_ports(1) as (port,):
        made = provider(f"127.0.0.1:{port}")
        tracer = made.get_tracer("test")

        began = monotonic()
        for _ in range(5_000):
            with tracer.start_as_current_span("work"):
                pass
        worked = monotonic() - began
        traces.shutdown(made, within=timedelta(milliseconds=200))
        stopped = monotonic() - began - worked

    assert wait_for_exporters() > 0.5
    assert worked < 5
    assert stopped < 1


def wait_for_exporters() -> float:
    """Seconds until the last thread that sends spans has ended. It draws from `random`, which Hypothesis forbids while
    a later test draws its examples."""
    began = monotonic()
    for thread in threading.enumerate():
        if thread.name == "traces-shutdown":
            thread.join(30)
            assert not thread.is_alive()
    return monotonic() - began


def test_outside_a_span_there_is_no_traceparent() -> None:
    assert traces.current_traceparent() == ""


def test_a_traceparent_survives_the_way_through_a_message() -> None:
    context = traces.context_from_traceparent(SAMPLED)

    with trace.use_span(trace.get_current_span(context)):
        assert traces.current_traceparent() == SAMPLED


def test_a_link_points_to_the_span_that_a_message_came_from() -> None:
    (link,) = traces.link_to(SAMPLED)

    assert f"{link.context.trace_id:032x}" == TRACE_ID
    assert f"{link.context.span_id:016x}" == "b7ad6b7169203331"


@pytest.mark.parametrize("malformed", ["", "00-zz", "x" * 1000, f"00-{'0' * 32}-b7ad6b7169203331-01", "00-é-é-01"])
def test_a_malformed_traceparent_is_no_trace(malformed: str) -> None:
    context = traces.context_from_traceparent(malformed)

    assert traces.link_to(malformed) == []
    assert not trace.get_current_span(context).get_span_context().is_valid


@pytest.mark.parametrize(
    ("flags", "sampled"), [("00", False), ("01", True), ("02", False), ("03", True), ("", False), ("zz", False)]
)
def test_the_lowest_flag_says_whether_a_trace_is_kept(flags: str, sampled: bool) -> None:
    assert traces.is_sampled(SAMPLED[:-2] + flags) is sampled


def test_a_span_without_ids_has_no_traceparent() -> None:
    assert traces.traceparent_of(trace.INVALID_SPAN) == ""
