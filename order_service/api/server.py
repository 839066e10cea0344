"""The gRPC server: the service, health checking and, where enabled, reflection."""

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from order_service.api.call_traces import CallTraces
from order_service.api.connections import close_port, end_connections, is_listener, listener_of
from order_service.api.interceptor import RpcInterceptor
from order_service.api.ports import PortTaken
from order_service.api.servicer import OrderServicer
from order_service.pb import order_pb2, order_pb2_grpc
from order_service.telemetry.metrics import Metrics
from order_service.telemetry.sampling import Sampling

log: Final = structlog.get_logger()

SERVICE: Final = order_pb2.DESCRIPTOR.services_by_name["OrderService"].full_name

_ANSWERS_SECONDS: Final = 0.05
"""A connection of a server that stops is left open for so long after its last answer, at least."""

_MOST_PENDING: Final = 100_000

OPTIONS: Final = (
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    # gRPC cancels (CANCELLED) some of the calls that Python has not looked at when they are 1,000, and all above 3,000
    # (grpc/grpc `src/core/server/server.h`). Python looks at them, and tells those that are too many UNAVAILABLE.
    ("grpc.server.max_pending_requests", _MOST_PENDING),
    ("grpc.server.max_pending_requests_hard_limit", _MOST_PENDING),
)


@dataclass(frozen=True, slots=True)
class Listening:
    """Where to listen; port 0 takes any that is free. `shared` is a port that other processes listen on too."""

    host: str
    port: int
    reflection: bool
    shared: bool = False

    def options(self) -> Sequence[tuple[str, int]]:
        """gRPC's. Unless the port is meant to be shared, a second server must not bind it in silence and take half of
        the calls."""
        return (*OPTIONS, ("grpc.so_reuseport", int(self.shared)))


class Server:
    """The server, from start to stop.

    gRPC for Python ends its server for good at one call whose path is no UTF-8, which anybody can send (grpc/grpc
    `src/python/grpcio/grpc/_cython/_cygrpc/aio/server.pyx.pxi`: `_server_main_loop` decodes it, and
    `_serving_task_crash_handler` shuts down). Nothing but the port that nobody listens on tells of it: see `revive`.
    """

    def __init__(self, servicer: OrderServicer, metrics: Metrics, sampling: Sampling) -> None:
        self._traces = CallTraces(sampling)
        self._rpcs = RpcInterceptor(metrics)
        self._servicer = servicer
        self._health = health.aio.HealthServicer()
        self._listening = Listening("", 0, False)
        # Where the system does not tell it is None, and nothing is revived.
        self._listener: int | None = None
        self._ending: set[asyncio.Task[None]] = set()

    async def start(self, listening: Listening) -> int:
        """Listens; returns the port. Not yet serving by its health: see `set_serving`. Raises PortTaken."""
        await self.set_serving(False)
        port = await self._listen(listening)
        self._listening = replace(listening, port=port)
        return port

    async def revive(self, grace: timedelta) -> None:
        """Listens again if gRPC has stopped to by itself; the calls under way then have `grace` to end. To be called
        now and then between `start` and `stop`."""
        if self._listener is None or is_listener(self._listener, self._listening.port):
            return
        log.error("api.server_ended", port=self._listening.port)
        ended = self._server
        await self._listen(self._listening)
        self._end(ended, grace)

    async def _listen(self, listening: Listening) -> int:
        server = grpc.aio.server(
            handlers=self._handlers(listening.reflection),
            interceptors=[self._traces, self._rpcs],
            options=listening.options(),
        )
        try:
            port: int = server.add_insecure_port(f"{listening.host}:{listening.port}")
        except RuntimeError as error:
            raise PortTaken(listening.host, listening.port) from error
        await server.start()
        self._server = server
        self._listener = listener_of(port)
        return port

    def _handlers(self, with_reflection: bool) -> Sequence[grpc.GenericRpcHandler]:
        unregistered = _Unregistered()
        # The stubs ask for a server.
        server: Any = unregistered
        order_pb2_grpc.add_OrderServiceServicer_to_server(self._servicer, server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        if with_reflection:
            reflecting = reflection.aio.ReflectionServicer(_services())
            reflection_pb2_grpc.add_ServerReflectionServicer_to_server(reflecting, server)  # type: ignore[no-untyped-call]
        return unregistered.handlers

    def _end(self, server: grpc.aio.Server, grace: timedelta) -> None:
        ending = asyncio.create_task(server.stop(grace.total_seconds()), name="ending")
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)

    async def set_serving(self, serving: bool) -> None:
        """What health checks are told."""
        status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        for service in ("", SERVICE):
            await self._health.set(service, status)

    async def stop(self, grace: timedelta) -> None:
        """Begins no more calls, and lets those under way finish within `grace`.

        A call that is not begun is UNAVAILABLE to its caller, whether it is answered or its connection ends."""
        ends = time.monotonic() + grace.total_seconds()
        await self._health.enter_graceful_shutdown()
        self._rpcs.refuse_calls()
        close_port(self._listening.port)
        waiting, left = self._rpcs.clients_waiting(), 1
        while (waiting or left) and time.monotonic() < ends:
            await asyncio.sleep(_ANSWERS_SECONDS)
            answered, waiting = waiting, self._rpcs.clients_waiting()
            left = end_connections(self._listening.port, spared=waiting | answered)
        end_connections(self._listening.port, spared=())
        await self._server.stop(None)


class _Unregistered:
    """Takes what generated code adds to a server, and registers none of the methods.

    For each registered method gRPC for Python has a call asked for ahead of it, whose memory it gives back when its
    server ends over a path that is no text, and which the core still writes to later (1.85, `_server_main_loop`: its
    `finally` cancels what `_request_registered_call` waits for). What lay there by then was overwritten: one process in
    five died of a dozen such calls. It also looks at each registered method before each call, which is 5% of one."""

    def __init__(self) -> None:
        self.handlers: list[grpc.GenericRpcHandler] = []

    def add_generic_rpc_handlers(self, handlers: Iterable[grpc.GenericRpcHandler]) -> None:
        """Those of a service: they find the method of a call by its name."""
        self.handlers.extend(handlers)

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Nothing is registered."""


def _services() -> Sequence[str]:
    return (SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
