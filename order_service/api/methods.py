"""The methods of the server, by name. gRPC asks for one at each call, so all that can be made beforehand is.

gRPC's own ways cost more: it runs three coroutines for each of a server's interceptors at each call (5% of one), and
for methods that are registered it has a call of each asked for ahead, which it looks at before each (5% again). The
memory of the latter it gives back when its server ends over a path that is no text, and the core still writes to it
(1.85, `_server_main_loop`: its `finally` cancels what `_request_registered_call` waits for): what lay there by then was
overwritten, and one process in five died of a dozen such calls.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import grpc

from order_service.api.call_traces import CallTraces


class GeneratedMethods:
    """Stands in for a server where generated code adds the methods of a service to one."""

    def __init__(self) -> None:
        self.handlers: dict[str, Any] = {}

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Those of a service, by their names within it."""
        self.handlers |= {f"/{service}/{name}": handler for name, handler in handlers.items()}

    def add_generic_rpc_handlers(self, handlers: Iterable[grpc.GenericRpcHandler]) -> None:
        """The same ones once more, as something that finds them."""


class Methods(grpc.GenericRpcHandler):
    """Begins each call in its trace, and finds the handler of its method."""

    def __init__(self, handlers: Mapping[str, Any], in_span: Mapping[str, Any], traces: CallTraces) -> None:
        """By a method's full name, "/order.OrderService/CreateOrder". Methods that are not `in_span` are not traced."""
        self._handlers = handlers
        self._in_span = in_span
        self._traces = traces

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """Called by gRPC for each call, in the task that its handler then runs in; None if there is no such method."""
        method = handler_call_details.method
        in_span = self._in_span.get(method)
        if in_span is not None and self._traces.needs_span(handler_call_details):
            return in_span
        return self._handlers.get(method)
