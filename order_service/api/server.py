"""The gRPC server: the service, health checking and, where enabled, reflection."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from order_service.api.acceptors import ACCEPTORS, Acceptor, Listening, accept
from order_service.api.call_traces import CallTraces
from order_service.api.connections import close_port, end_connections, share_port
from order_service.api.methods import GeneratedMethods, Methods
from order_service.api.observed_rpcs import ObservedRpcs
from order_service.api.ports import PortTaken
from order_service.api.servicer import OrderServicer
from order_service.pb import order_pb2, order_pb2_grpc
from order_service.telemetry.metrics import Metrics
from order_service.telemetry.sampling import Sampling

log: Final = structlog.get_logger()

SERVICE: Final = order_pb2.DESCRIPTOR.services_by_name["OrderService"].full_name

_ANSWERS_SECONDS: Final = 0.05
"""A connection of a server that stops is left open for so long after its last answer, at least."""


class Server:
    """The server, from start to stop: several of gRPC's (see `acceptors`), with one port and one state of health.

    gRPC for Python ends its server for good at one call whose path is no UTF-8, which anybody can send (grpc/grpc
    `src/python/grpcio/grpc/_cython/_cygrpc/aio/server.pyx.pxi`: `_server_main_loop` decodes it, and
    `_serving_task_crash_handler` shuts down). That it listens no more is all that tells: see `revive`.
    """

    def __init__(self, servicer: OrderServicer, metrics: Metrics, sampling: Sampling) -> None:
        self._traces = CallTraces(sampling)
        self._rpcs = ObservedRpcs(metrics)
        self._servicer = servicer
        self._health = health.aio.HealthServicer()
        self._listening = Listening("", 0, False)
        self._acceptors: list[Acceptor] = []
        self._ending: set[asyncio.Task[None]] = set()

    async def start(self, listening: Listening) -> int:
        """Listens; returns the port. Not yet serving by its health: see `set_serving`. Raises PortTaken."""
        await self.set_serving(False)
        self._methods = await self._observed_methods(listening.reflection)
        self._listening = listening
        await self._accept()
        return self._listening.port

    async def revive(self, grace: timedelta) -> None:
        """Listens again where gRPC has stopped to by itself; the calls under way there then have `grace` to end. To be
        called now and then between `start` and `stop`."""
        ended = [acceptor for acceptor in self._acceptors if not acceptor.listens()]
        if not ended:
            return
        log.error("api.server_ended", port=self._listening.port)
        for acceptor in ended:
            self._acceptors.remove(acceptor)
            self._end(acceptor, grace)
        await self._accept()

    async def _accept(self) -> None:
        """Listens with as many as there should be. The first has the port for itself, unless it is meant to be shared
        with other processes, so that a second service on it is told; then it lets the others in."""
        while len(self._acceptors) < ACCEPTORS:
            joins = replace(self._listening, shared=self._listening.shared or bool(self._acceptors))
            try:
                acceptor = await accept(joins, self._methods)
            except PortTaken:
                # Not every system lets a port be shared so late. Fewer do as well, if not as fast.
                if not self._acceptors:
                    raise
                log.info("api.port_not_shared", port=self._listening.port, acceptors=len(self._acceptors))
                return
            self._acceptors.append(acceptor)
            self._listening = replace(self._listening, port=acceptor.port)
            share_port(acceptor.port)

    async def _observed_methods(self, with_reflection: bool) -> Methods:
        generated = GeneratedMethods()
        # The stubs ask for a server.
        server: Any = generated
        order_pb2_grpc.add_OrderServiceServicer_to_server(self._servicer, server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        if with_reflection:
            reflecting = reflection.aio.ReflectionServicer(_services())
            reflection_pb2_grpc.add_ServerReflectionServicer_to_server(reflecting, server)  # type: ignore[no-untyped-call]
        handlers = {name: self._rpcs.observed(name, handler) for name, handler in generated.handlers.items()}
        return Methods(handlers, await self._traces.in_spans(handlers), self._traces)

    def _end(self, acceptor: Acceptor, grace: timedelta) -> None:
        ending = asyncio.create_task(acceptor.server.stop(grace.total_seconds()), name="ending")
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
        for acceptor in self._acceptors:
            await acceptor.server.stop(None)


def _services() -> Sequence[str]:
    return (SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
