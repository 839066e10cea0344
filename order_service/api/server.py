"""The gRPC server: the service, health checking and, where enabled, reflection."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from opentelemetry.instrumentation.grpc import aio_server_interceptor, filters

from order_service.api.interceptor import RpcInterceptor
from order_service.api.servicer import OrderServicer
from order_service.domain.errors import OrderServiceError
from order_service.pb import order_pb2, order_pb2_grpc
from order_service.telemetry.metrics import Metrics

SERVICE: Final = order_pb2.DESCRIPTOR.services_by_name["OrderService"].full_name

_QUIET_SECONDS: Final = 1.0
"""For so long after its last call a server that stops waits for answers to be on their way."""

_OPTIONS: Final = (
    # Without it a second server would bind the same port in silence and take half of the calls.
    ("grpc.so_reuseport", 0),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
)


class PortTaken(OrderServiceError):
    """The port of the gRPC server cannot be listened on."""


@dataclass(frozen=True, slots=True)
class Listening:
    """Where to listen; port 0 takes any that is free."""

    host: str
    port: int
    reflection: bool


class Server:
    """The server, from start to stop."""

    def __init__(self, servicer: OrderServicer, metrics: Metrics) -> None:
        # A span for each health check would be noise, and the library's interceptor breaks Watch.
        traces = aio_server_interceptor(filter_=filters.negate(filters.health_check()))
        self._rpcs = RpcInterceptor(metrics)
        self._server = grpc.aio.server(interceptors=[traces, self._rpcs], options=_OPTIONS)
        self._health = health.aio.HealthServicer()
        order_pb2_grpc.add_OrderServiceServicer_to_server(servicer, self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)

    async def start(self, listening: Listening) -> int:
        """Listens; returns the port. Not yet serving by its health: see `set_serving`. Raises PortTaken."""
        if listening.reflection:
            reflection.enable_server_reflection(_services(), self._server)
        try:
            port: int = self._server.add_insecure_port(f"{listening.host}:{listening.port}")
        except RuntimeError as error:
            raise PortTaken(
                f"GRPC_PORT: cannot listen on {listening.host}:{listening.port}; is another process using it?"
            ) from error
        await self.set_serving(False)
        await self._server.start()
        return port

    async def set_serving(self, serving: bool) -> None:
        """What health checks are told."""
        status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        for service in ("", SERVICE):
            await self._health.set(service, status)

    async def stop(self, grace: timedelta) -> None:
        """Takes no more calls, and lets those under way finish within `grace`."""
        await self._health.enter_graceful_shutdown()
        stopping = asyncio.create_task(self._server.stop(grace.total_seconds()))
        # gRPC also waits for those who watch the health, and for a call that came just before it began to stop and that
        # it has lost: no handler has seen it, and its caller waits for nothing.
        while not (await asyncio.wait({stopping}, timeout=_QUIET_SECONDS))[0]:
            if not self._rpcs.calls_under_way:
                await self._server.stop(None)
        await stopping


def _services() -> Sequence[str]:
    return (SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
