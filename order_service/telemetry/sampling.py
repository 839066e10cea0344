"""Decides which calls' traces are kept, before anything is made of a span.

A call whose trace is not kept needs no more than ids, for the log and for what it sends: the library takes a hundred
times as long to make a span that nobody will see.
"""

import re
from contextvars import ContextVar
from typing import Final

from opentelemetry.context import attach
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import TraceIdRatioBased
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

_NOT_KEPT: Final = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-0([02])")
_drawn: Final[ContextVar[int]] = ContextVar("drawn", default=0)


class DrawnIds(RandomIdGenerator):
    """Random ids; a trace that begins in a call gets the id that the call was decided by."""

    def generate_trace_id(self) -> int:
        """The id of a trace that begins here."""
        return _drawn.get() or super().generate_trace_id()


class Sampling:
    """Decides as `ParentBased(TraceIdRatioBased(ratio))` does. `ratio` 0 keeps only what callers keep."""

    def __init__(self, ratio: float) -> None:
        self._bound = TraceIdRatioBased(ratio).bound
        self._ids = RandomIdGenerator()

    def needs_span(self, traceparent: str | bytes | None) -> bool:
        """Whether a call with this trace context needs a span of the library's. If not, ids are set as the current
        span of this task; if a trace begins with the call, the library's span gets the id it was decided by."""
        if traceparent is None:
            trace_id, flags = self._ids.generate_trace_id(), TraceFlags.RANDOM_TRACE_ID
            if trace_id & TraceIdRatioBased.TRACE_ID_LIMIT < self._bound:
                _drawn.set(trace_id)
                return True
        else:
            # Whatever is unusual about a header, the library knows best.
            found = _NOT_KEPT.fullmatch(traceparent) if isinstance(traceparent, str) else None
            if found is None:
                return True
            trace_id, flags = int(found[1], 16), int(found[2])
        ids = SpanContext(trace_id, self._ids.generate_span_id(), is_remote=False, trace_flags=TraceFlags(flags))
        attach(set_span_in_context(NonRecordingSpan(ids)))
        return False
