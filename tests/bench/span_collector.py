"""A collector of traces that counts spans and keeps none, in a process of its own.

`python -m tests.bench.span_collector` says `{"port": ...}`, then with each batch `{"spans": ...}`: all so far.
"""

import json
from typing import Any

import grpc
import uvloop
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc


class SpanCollector(trace_service_pb2_grpc.TraceServiceServicer):
    """Counts."""

    def __init__(self) -> None:
        self._spans = 0

    async def Export(self, request: Any, context: Any) -> Any:
        """The one method of the service."""
        self._spans += sum(len(scope.spans) for resource in request.resource_spans for scope in resource.scope_spans)
        _say(spans=self._spans)
        return trace_service_pb2.ExportTraceServiceResponse()


async def serve() -> None:
    """Until the process is ended."""
    server = grpc.aio.server()
    add_to_server: Any = trace_service_pb2_grpc.add_TraceServiceServicer_to_server
    add_to_server(SpanCollector(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    _say(port=port)
    await server.wait_for_termination()


def _say(**figures: int) -> None:
    print(json.dumps(figures), flush=True)  # noqa: T201


if __name__ == "__main__":
    uvloop.run(serve())
