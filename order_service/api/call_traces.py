"""The span of each call: OpenTelemetry's, where somebody will see it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import grpc
from opentelemetry.instrumentation.grpc import aio_server_interceptor

from order_service.telemetry.sampling import Sampling


@dataclass(frozen=True, slots=True)
class _AnyCall(grpc.HandlerCallDetails):
    """What the library's interceptor looks at in a call to name its span."""

    method: str
    invocation_metadata: tuple[()] = ()


class CallTraces:
    """Begins each call in its trace. gRPC looks for the call's handler and runs it in one task, which ends with the
    call: what is current in it needs no undoing."""

    def __init__(self, sampling: Sampling) -> None:
        self._sampling = sampling
        self._library = aio_server_interceptor()

    def needs_span(self, call: grpc.HandlerCallDetails) -> bool:
        """Whether the call's trace is kept. If not, the call has the ids of its trace by now."""
        traceparent = None
        for key, value in call.invocation_metadata:
            if key == "traceparent":
                traceparent = value
        return self._sampling.needs_span(traceparent)

    async def in_spans(self, handlers: Mapping[str, Any]) -> Mapping[str, Any]:
        """The handlers of methods, by name, each of which makes a span for each call. Without those of health: a span
        for each check would be noise, and the library breaks Watch."""
        traced = {method: one for method, one in handlers.items() if not method.startswith("/grpc.health.")}
        return {method: await self._in_span(method, handler) for method, handler in traced.items()}

    async def _in_span(self, method: str, handler: Any) -> Any:
        """The library asks for no more than the method when it wraps a handler, so that this is done once and not, as
        it would have it, at each call."""

        async def wrapped(_: grpc.HandlerCallDetails) -> Any:
            return handler

        return await self._library.intercept_service(wrapped, _AnyCall(method))
