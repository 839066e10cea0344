"""The span of each call: OpenTelemetry's, where somebody will see it."""

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from grpc.aio import ServerInterceptor
from opentelemetry.instrumentation.grpc import aio_server_interceptor

from order_service.telemetry.sampling import Sampling


class CallTraces(ServerInterceptor):
    """Begins each call in its trace. gRPC runs this and the call's handler in one task, which ends with the call: what
    is current in it needs no undoing."""

    def __init__(self, sampling: Sampling) -> None:
        self._sampling = sampling
        self._library = aio_server_interceptor()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Called by gRPC for each call. A span for each health check would be noise, and the library breaks Watch."""
        if handler_call_details.method.startswith("/grpc.health."):
            return await continuation(handler_call_details)
        traceparent = None
        for key, value in handler_call_details.invocation_metadata:
            if key == "traceparent":
                traceparent = value
        if self._sampling.needs_span(traceparent):
            return await self._library.intercept_service(continuation, handler_call_details)
        return await continuation(handler_call_details)
