"""What processes take that have nothing to do: the time to start, and the CPU while idle."""

import asyncio
import statistics
import time
from collections.abc import Mapping
from typing import Any, Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from order_service.private_servers.ports import reserved_ports
from tests.bench.api_processes import api
from tests.bench.growth.by_size import started_worker
from tests.bench.growth.databases import Database, Databases
from tests.bench.growth.measured import Curve, Measured, Panel
from tests.bench.growth.sizes import Sizes
from tests.bench.processes import cpu_seconds
from tests.bench.stopwatch import Stopwatch
from tests.endurance.measured import Bound, Result, Tell
from tests.integration.platform import http_status

MOST_SECONDS: Final = 2.0
MOST_IDLE_PERCENT: Final = 1.0
"""Of a core."""

_STARTS: Final = 5
_LOOK_SECONDS: Final = 0.01
_BOUND_SECONDS: Final = 60.0
_PARTS: Final = 6
_CALM_SECONDS: Final = 3.0
"""After which a process that has just started has nothing left to do."""


async def start(databases: Databases, sizes: Sizes, tell: Tell) -> Measured:
    """An api until gRPC health says SERVING, a worker until /readyz says 200; in turn, each five times."""
    tell(0, "making ready")
    database = await databases.empty()
    took: dict[str, list[tuple[float, float]]] = {"api": [], "worker": []}
    for number in range(_STARTS):
        for name, times in took.items():
            tell((2 * number + len(took["worker"]) - number) / (2 * _STARTS), f"start {number + 1} of {name}")
            times.append(await _start(database, name))
    return start_result(took)


def start_result(took: Mapping[str, list[tuple[float, float]]]) -> Measured:
    """From pairs of the time that a start took and the CPU time in it, both in seconds."""
    figures: dict[str, float] = {}
    bounds, curves = [], {}
    for name, times in took.items():
        seconds = statistics.median(wall for wall, _ in times)
        figures[f"{name}: CPU, s"] = round(statistics.median(spent for _, spent in times), 2)
        figures[f"{name}: least, s"] = round(min(wall for wall, _ in times), 2)
        bounds.append(Bound(f"{name}: seconds until it serves", round(seconds, 2), most=MOST_SECONDS))
        curves[name] = [(float(number), wall) for number, (wall, _) in enumerate(times, 1)]
    return Measured(Result("start", figures, bounds), Panel("start", "seconds until it serves", curves, MOST_SECONDS))


async def _start(database: Database, name: str) -> tuple[float, float]:
    with reserved_ports(2) as (port, metrics_port):
        ports = {"GRPC_PORT": str(port), "METRICS_PORT": str(metrics_port)}
        began = time.monotonic()
        running = database.platform.spawn(name, **ports)
        while http_status(metrics_port, "/readyz") != 200 or not (name != "api" or await _serves(port)):
            if running.process.poll() is not None or time.monotonic() > began + _BOUND_SECONDS:
                raise AssertionError(f"{name} did not start:\n{running.log.read_text()[-2000:]}")
            await asyncio.sleep(_LOOK_SECONDS)
        took = time.monotonic() - began, cpu_seconds(running.process.pid)
        await asyncio.to_thread(running.stop)
    return took


async def _serves(port: int) -> bool:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=5)
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


async def idle(databases: Databases, sizes: Sizes, tell: Tell) -> Measured:
    """With empty tables."""
    return await _idle("idle", await databases.empty(), sizes, tell)


async def idle_when_full(databases: Databases, sizes: Sizes, tell: Tell) -> Measured:
    """With very many orders in the tables."""
    tell(0, "making ready")
    return await _idle("idle-when-full", await databases.with_orders(sizes.large, sizes.listed), sizes, tell)


async def _idle(name: str, database: Database, sizes: Sizes, tell: Tell) -> Measured:
    """An api and a worker that nobody asks for anything; the CPU time of each over half a minute."""
    await database.reset()
    spent: dict[str, list[tuple[float, float]]] = {"api": [], "worker": []}
    async with api(database.platform) as serving, started_worker(database) as worker:
        tell(0.1, "waiting until all is calm")
        await asyncio.sleep(_CALM_SECONDS)
        stopwatch = Stopwatch({"api": serving.pid, "worker": worker.process.pid})
        for part in range(1, _PARTS + 1):
            tell(part / (_PARTS + 1), f"doing nothing for {sizes.idle_seconds:.0f} s")
            await asyncio.sleep(sizes.idle_seconds / _PARTS)
            read = stopwatch.read()
            for one, seconds in read["cpu_seconds"].items():
                spent[one].append((read["seconds"], seconds))
    return idle_result(name, database.label, spent)


def idle_result(name: str, label: str, spent: Mapping[str, Curve]) -> Measured:
    """From the CPU time of each process at instants since the beginning, both in seconds."""
    curves = {one: [(at, 100 * seconds / at) for at, seconds in curve] for one, curve in spent.items()}
    bounds = [
        Bound(f"{one}: % of a core with {label}", round(curve[-1][1], 2), most=MOST_IDLE_PERCENT)
        for one, curve in curves.items()
    ]
    seconds = max(at for curve in spent.values() for at, _ in curve)
    panel = Panel("seconds", "% of a core since the beginning", curves, MOST_IDLE_PERCENT)
    return Measured(Result(name, {"seconds": round(seconds, 1)}, bounds), panel)
