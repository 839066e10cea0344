"""What an api and a worker hold in memory while very many orders go through them."""

import asyncio
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import grpc

from order_service.pb import order_pb2, order_pb2_grpc
from tests.bench.api_processes import api
from tests.bench.growth.backlog import PATIENT, answering_itself, settled
from tests.bench.growth.by_size import started_worker
from tests.bench.growth.databases import Databases
from tests.bench.growth.measured import Curve, Measured, Panel
from tests.bench.growth.sizes import Sizes
from tests.bench.orders import batch_request
from tests.endurance.measured import Bound, Result, Tell

MOST_MEGABYTES: Final = 150.0
MOST_GROWTH: Final = 0.02
"""Over the second half of the orders, as a share of what is held."""

_STEPS: Final = 100
_BATCH: Final = 100
_AT_ONCE: Final = 4


async def memory(databases: Databases, sizes: Sizes, tell: Tell) -> Measured:
    """Orders in steps, each waited for until its sagas have ended; what is held is read after each step."""
    tell(0, "making ready")
    step = max(50, sizes.carried // _STEPS)
    steps = -(-sizes.carried // step)
    database = await databases.empty()
    held: dict[str, list[tuple[float, float]]] = {"api": [], "worker": []}
    async with (
        api(database.platform, **PATIENT) as serving,
        started_worker(database) as worker,
        answering_itself(database.platform),
        grpc.aio.insecure_channel(f"127.0.0.1:{serving.port}") as channel,
    ):
        pids = {"api": serving.pid, "worker": worker.process.pid}
        stub: order_pb2_grpc.OrderServiceAsyncStub = order_pb2_grpc.OrderServiceStub(channel)
        for number in range(1, steps + 1):
            await _place(stub, number, step)
            await settled(database.platform, [worker])
            for name, pid in pids.items():
                held[name].append((float(number * step), resident_megabytes(pid)))
            tell(number / steps, ", ".join(f"{name} {held[name][-1][1]:.1f} MB" for name in held))
    return result_of(held)


def result_of(held: dict[str, list[tuple[float, float]]]) -> Measured:
    """Of each process: what it holds at the end, and how much that grew over the second half."""
    bounds, figures = [], {"orders": max(orders for orders, _ in held["api"])}
    for name, curve in held.items():
        figures |= {
            f"{name}: first, MB": round(curve[0][1], 1),
            f"{name}: most, MB": round(max(y for _, y in curve), 1),
        }
        bounds.append(Bound(f"{name}: MB at the end", round(curve[-1][1], 1), most=MOST_MEGABYTES))
        growth = fitted_growth(curve[len(curve) // 2 :])
        bounds.append(Bound(f"{name}: growth over the second half", round(growth, 4), most=MOST_GROWTH))
    return Measured(Result("memory", figures, bounds), Panel("orders carried", "MB resident", held, MOST_MEGABYTES))


def fitted_growth(curve: Curve) -> float:
    """By how much a straight line through the points rises from the first to the last, as a share of their median."""
    orders, megabytes = [x for x, _ in curve], [y for _, y in curve]
    slope = statistics.linear_regression(orders, megabytes).slope
    return slope * (orders[-1] - orders[0]) / statistics.median(megabytes)


def resident_megabytes(pid: int) -> float:
    """What a process holds in memory that is really there."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) * 1024 / 1e6


async def _place(stub: "order_pb2_grpc.OrderServiceAsyncStub", number: int, count: int) -> None:
    """So many orders, in batches of which some are under way at once."""
    batches = iter(_batches(number, count))

    async def one_after_another() -> None:
        for request in batches:
            answer: order_pb2.BatchCreateOrdersResponse = await stub.BatchCreateOrders(request)
            if not all(result.HasField("order") for result in answer.results):
                raise AssertionError("an order was not stored")

    await asyncio.gather(*[one_after_another() for _ in range(_AT_ONCE)])


def _batches(number: int, count: int) -> Sequence[order_pb2.BatchCreateOrdersRequest]:
    sizes = [min(_BATCH, count - done) for done in range(0, count, _BATCH)]
    return [batch_request(number * 1_000 + place, size) for place, size in enumerate(sizes)]
