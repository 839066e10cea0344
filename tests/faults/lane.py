"""A lane: a platform of its own, with one process of the service behind a wire, and the cast around it.

Everything else on the lane runs unbroken: the other process, and a second api that takes the orders whose deadlines are
short. Lanes share nothing but the servers, so any number of them may run side by side.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import grpc
import psycopg

from order_service.pb import order_pb2_grpc
from order_service.private_servers.ports import LOOPBACK, reserved_ports
from tests.faults.cast import Cast, Gateway, PaymentService, Recorder, StockService
from tests.faults.points import Process
from tests.faults.script import IMPATIENT, PATIENT
from tests.faults.wire import Protocol, Wire
from tests.integration.platform import Launch, Platform, Running, Servers, launch_afresh
from tests.waiting import eventually

READY_SECONDS: Final = 90.0
_CHANNELS: Final = 11
"""A gateway whose connection hangs takes another: a prime, so that calls which fail together do not come back to it."""

_CONNECTIONS: Final = "4"
"""DATABASE_POOL_SIZE: PostgreSQL has 300 connections for all the lanes, and those that hang go on counting."""

_SHORT_TIMEOUT: Final = "3s"
"""DATABASE_TIMEOUT where connections hang: the product's own limits are what ends the waiting."""


@dataclass(slots=True)
class Lane:
    """Made by `open_lane`. `running` is the process behind the wire, if it is up."""

    process: Process
    platform: Platform
    wire: Wire
    cast: Cast
    own_environment: dict[str, str]
    settling: "psycopg.AsyncConnection[Any]"
    running: Running | None = None
    marks: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))
    tried: int = 0

    @property
    def patient(self) -> Gateway:
        """Calls the api with long deadlines."""
        return self.cast.gateways[0]

    @property
    def impatient(self) -> Gateway:
        """Calls the api with short ones."""
        return self.cast.gateways[1]

    def spawn(self) -> Running:
        """Starts the process behind the wire, and does not wait."""
        self.running = self.platform.spawn(self.process.value, **self.own_environment)
        return self.running

    def kill(self) -> None:
        """SIGKILL; what is left of it is collected later."""
        if self.running is not None:
            self.running.process.kill()

    async def gone(self) -> None:
        """Returns when the killed process is."""
        running, self.running = self.running, None
        if running is not None:
            await eventually(lambda: running.process.poll() is not None)
            self.platform.started.remove(running)

    async def ready(self) -> None:
        """Returns when the process says that it is ready. Fails if it has ended, or takes too long."""
        if self.running is not None:
            await until_ready(self.platform, self.running)


@asynccontextmanager
async def open_lane(
    servers: Servers, process: Process, folder: Path, *, short_timeouts: bool = False, launch: Launch = launch_afresh
) -> AsyncIterator[Lane]:
    """A lane within the block, with its process up and ready. Logs go to `folder`, which must exist."""
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        platform = await enter(_platform(servers, folder, launch))
        wire = await enter(Wire.between())
        (port,) = stack.enter_context(reserved_ports(1))
        common = {"SAGA_PAYMENT": "on", "DATABASE_POOL_SIZE": _CONNECTIONS} | (
            {"DATABASE_TIMEOUT": _SHORT_TIMEOUT} if short_timeouts else {}
        )
        patient = _saga(common, PATIENT.total_seconds()) | {"GRPC_PORT": str(port)}
        impatient = platform.spawn("api", **_saga(common, IMPATIENT.total_seconds()))
        behind = {"DATABASE_URL": await wire.through(platform.database_url, Protocol.POSTGRESQL)}
        target = f"{LOOPBACK}:{port}"
        if process is Process.API:
            target = await wire.through(target, Protocol.GRPC)
            platform.spawn("worker", **_saga(common, PATIENT.total_seconds()))
        else:
            behind["RABBITMQ_URL"] = await wire.through(platform.rabbitmq_url, Protocol.AMQP)
            platform.spawn("api", **patient)
        for other in tuple(platform.started):
            await until_ready(platform, other)
        channels = _CHANNELS if short_timeouts else 1
        gateways = [
            await enter(_gateway(target, channels)),
            await enter(_gateway(f"{LOOPBACK}:{impatient.ports['grpc']}", 1)),
        ]
        rabbitmq = platform.rabbitmq_url
        cast = Cast(
            gateways,
            await enter(StockService.at(rabbitmq)),
            await enter(Recorder.at(rabbitmq)),
            await enter(PaymentService.at(rabbitmq)),
        )
        settling = await enter(await psycopg.AsyncConnection.connect(platform.database_url, autocommit=True))
        lane = Lane(process, platform, wire, cast, patient | behind, settling)
        stack.callback(lane.kill)
        lane.spawn()
        await lane.ready()
        yield lane


async def until_ready(platform: Platform, running: Running) -> None:
    """Asks /readyz until it says so, and all ports are known."""

    async def is_ready() -> bool:
        return platform.tells_ports(running) and await _says_ready(running.ports["metrics"])

    await eventually(is_ready, READY_SECONDS)


async def _says_ready(port: int) -> bool:
    try:
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
    except OSError:
        return False
    try:
        writer.write(b"GET /readyz HTTP/1.0\r\n\r\n")
        return b" 200 " in await reader.readline()
    except OSError:
        return False
    finally:
        writer.close()


def _saga(common: dict[str, str], seconds: float) -> dict[str, str]:
    milliseconds = f"{seconds * 1000:.0f}ms"
    return common | {"SAGA_STOCK_TIMEOUT": milliseconds, "SAGA_PAYMENT_TIMEOUT": milliseconds}


@asynccontextmanager
async def _gateway(target: str, channels: int) -> AsyncIterator[Gateway]:
    """A gateway with several connections to one server, used in turn."""
    options = (
        ("grpc.initial_reconnect_backoff_ms", 50),
        ("grpc.max_reconnect_backoff_ms", 200),
        ("grpc.use_local_subchannel_pool", 1),
    )
    async with AsyncExitStack() as stack:
        stubs: Sequence[Any] = [
            order_pb2_grpc.OrderServiceStub(
                await stack.enter_async_context(grpc.aio.insecure_channel(target, options=options))
            )
            for _ in range(channels)
        ]
        yield Gateway(stubs, 3.0 if channels == 1 else 1.0)


@asynccontextmanager
async def _platform(servers: Servers, folder: Path, launch: Launch) -> AsyncIterator[Platform]:
    """Made and ended beside everything else that goes on: both wait for servers."""
    making = Platform.make(servers, folder, launch)
    platform = await asyncio.to_thread(making.__enter__)
    try:
        yield platform
    finally:
        await asyncio.to_thread(making.__exit__, None, None, None)
