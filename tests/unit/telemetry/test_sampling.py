"""Which calls get a span: the same as the library's own sampler would keep, and ids for all others."""

from contextvars import copy_context

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import Decision, ParentBased, TraceIdRatioBased

from order_service.telemetry import traces
from order_service.telemetry.sampling import DrawnIds, Sampling

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
SPAN_ID = "b7ad6b7169203331"
MALFORMED = [
    "",
    "00-zz",
    f"00-{'0' * 32}-{SPAN_ID}-00",
    f"00-{TRACE_ID}-{'0' * 16}-00",
    f"ff-{TRACE_ID}-{SPAN_ID}-00",
    f"00-{TRACE_ID}-{SPAN_ID}-00\n",
    f"00-{TRACE_ID.upper()}-{SPAN_ID}-00",
    "00-é-é-00",
]


def begun(sampling: Sampling, traceparent: str | bytes | None) -> tuple[bool, str]:
    """Whether a call needs a span, and what is current in its task then."""
    return copy_context().run(lambda: (sampling.needs_span(traceparent), traces.current_traceparent()))


@pytest.mark.parametrize("flags", ["00", "02"])
@pytest.mark.parametrize("ratio", [0.0, 1.0])
def test_a_trace_that_its_caller_does_not_keep_goes_on_without_a_span(flags: str, ratio: float) -> None:
    needed, current = begun(Sampling(ratio), f"00-{TRACE_ID}-{SPAN_ID}-{flags}")

    version, trace_id, span_id, kept = current.split("-")
    assert not needed
    assert (version, trace_id, kept) == ("00", TRACE_ID, flags)
    assert span_id not in (SPAN_ID, "0" * 16)


@pytest.mark.parametrize("flags", ["01", "03"])
def test_a_trace_that_its_caller_keeps_gets_a_span_whatever_the_ratio(flags: str) -> None:
    assert begun(Sampling(0.0), f"00-{TRACE_ID}-{SPAN_ID}-{flags}") == (True, "")


@pytest.mark.parametrize("malformed", MALFORMED)
def test_what_is_no_trace_context_is_left_to_the_library(malformed: str) -> None:
    assert begun(Sampling(0.0), malformed) == (True, "")


def test_bytes_are_no_trace_context() -> None:
    assert begun(Sampling(0.0), f"00-{TRACE_ID}-{SPAN_ID}-00".encode()) == (True, "")


def test_a_trace_that_begins_here_and_is_not_kept_has_ids_of_its_own() -> None:
    calls = [begun(Sampling(0.0), None) for _ in range(100)]

    assert {needed for needed, _ in calls} == {False}
    assert len({current for _, current in calls}) == 100
    assert all(trace.get_current_span(traces.context_from_traceparent(current)) for _, current in calls)
    assert not any(traces.is_sampled(current) for _, current in calls)


@given(st.floats(0.0, 1.0))
def test_a_trace_that_begins_here_is_kept_exactly_if_the_librarys_sampler_keeps_it(ratio: float) -> None:
    sampler = ParentBased(TraceIdRatioBased(ratio))
    provider = TracerProvider(sampler=sampler, id_generator=DrawnIds(), shutdown_on_exit=False)

    def call() -> tuple[bool, bool]:
        needed = Sampling(ratio).needs_span(None)
        if needed:
            with provider.get_tracer("test").start_as_current_span("call") as span:
                return True, span.get_span_context().trace_flags.sampled
        trace_id = trace.get_current_span().get_span_context().trace_id
        return False, sampler.should_sample(None, trace_id, "call").decision is Decision.RECORD_AND_SAMPLE

    for _ in range(20):
        needed, kept = copy_context().run(call)
        assert needed == kept


def test_what_begins_outside_a_call_has_random_ids() -> None:
    ids = DrawnIds()

    assert len({ids.generate_trace_id() for _ in range(100)}) == 100
