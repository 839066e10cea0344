"""A hundred thousand sagas that cannot finish do not slow fresh ones."""

import asyncio
import statistics
import time

import grpc

from order_service.pb import order_pb2, order_pb2_grpc
from tests.endurance.measured import Bound, Result, Tell, percentile
from tests.endurance.orders import OF_ANOTHER_VERSION, make_pending
from tests.endurance.traffic import Traffic, flowing
from tests.integration.calls import an_item, an_order
from tests.integration.peers import Body, StockService
from tests.integration.platform import Platform, Running
from tests.waiting import eventually

STUCK = 100_000
FAIREST = 0.8
"""Orders a second through the whole saga, of a burst beside stuck sagas, as a share of those without."""
MOST_WORSE = 1.5
"""The median time to be confirmed beside stuck sagas, as a multiple of that without."""
LATEST_SECONDS = 2.0
"""How late a fresh saga's deadline may be kept beside stuck ones."""

_TIMEOUT_SECONDS = 1.0
_PER_SECOND = 100.0
_BURST = 1_000
_BURSTS = 3
"""Of which the middle one counts."""
_PHASES = ("before", "stuck", "after")


async def do_not_slow_fresh_ones(platform: Platform, scale: float, tell: Tell) -> Result:
    """Fresh orders before, beside and after stuck sagas: half of those wait for an answer that does not come, and half
    have passed a deadline that cannot be kept."""
    stuck = max(2_000, round(STUCK * scale))
    api, worker = await platform.start_both(SAGA_STOCK_TIMEOUT=f"{_TIMEOUT_SECONDS:g}s")
    # The stock service is no faster than it is: a burst must be given the time that it takes.
    patient_api = await platform.start_api()
    speeds: dict[str, float] = {}
    async with StockService.running(platform, _answers_most):
        for place, phase in enumerate(_PHASES):
            tell(place / 3, f"fresh orders {phase}")
            if phase == "stuck":
                await make_pending(platform, stuck // 2, "unanswered")
                await make_pending(platform, stuck // 2, "failing", OF_ANOTHER_VERSION, deadline_seconds=-60)
                await eventually(lambda: worker.log_lines("deadlines.put_off"), 60)
            speeds[phase] = statistics.median(
                [await _burst(platform, patient_api, f"{phase} {n}") for n in range(_BURSTS)]
            )
            await _traffic(platform, api, phase, 1 + 14 * scale)
            if phase == "stuck":
                left = await _still_stuck(platform)
                await _remove_stuck(platform)
    await asyncio.to_thread(worker.stop)
    return await _result(platform, speeds, stuck, left)


async def _result(platform: Platform, speeds: dict[str, float], stuck: int, left: int) -> Result:
    confirmed = {phase: await _seconds(platform, phase, "CONFIRMED", 0) for phase in _PHASES}
    late = {phase: await _seconds(platform, phase, "CANCELLED", _TIMEOUT_SECONDS) for phase in _PHASES}
    without = percentile(confirmed["before"] + confirmed["after"], 0.5)
    slower = percentile(confirmed["stuck"], 0.5) / without
    fair = speeds["stuck"] / ((speeds["before"] + speeds["after"]) / 2)
    figures: dict[str, float] = {"stuck sagas": stuck}
    for phase in _PHASES:
        figures |= {
            f"{phase}: burst, orders/s": round(speeds[phase]),
            f"{phase}: confirmed p50, ms": round(percentile(confirmed[phase], 0.5) * 1000, 1),
            f"{phase}: confirmed p99, ms": round(percentile(confirmed[phase], 0.99) * 1000, 1),
            f"{phase}: deadline late p99, s": round(percentile(late[phase], 0.99), 2),
        }
    return Result(
        "stuck sagas",
        figures,
        [
            Bound("burst beside stuck sagas / without", round(fair, 3), least=FAIREST),
            Bound("time to confirm beside stuck sagas / without, p50", round(slower, 3), most=MOST_WORSE),
            Bound(
                "seconds that deadlines are late, p99", round(percentile(late["stuck"], 0.99), 2), most=LATEST_SECONDS
            ),
            Bound("sagas that were still stuck", left, least=stuck, most=stuck),
        ],
    )


def _answers_most(created: Body) -> Body | None:
    """One order in four is never answered: its deadline passes."""
    unanswered = created["items"][0]["product_id"].endswith(("1", "7"))
    return None if unanswered else {"order_id": created["order_id"], "success": True}


async def _burst(platform: Platform, api: Running, phase: str) -> float:
    """Orders a second, from the first request to the last confirmation."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{api.ports['grpc']}") as channel:
        stub = order_pb2_grpc.OrderServiceStub(channel)
        requests = [an_order(f"burst {phase}", an_item("product-0"))] * 200
        began = time.monotonic()
        for _ in range(_BURST // len(requests)):
            await stub.BatchCreateOrders(order_pb2.BatchCreateOrdersRequest(requests=requests))
    await eventually(lambda: _ended(platform, f"burst {phase}", "CONFIRMED", _BURST), 120)
    return _BURST / (time.monotonic() - began)


async def _traffic(platform: Platform, api: Running, phase: str, seconds: float) -> None:
    """Fresh orders, a few at a time; returns when each has its outcome, or none may come any more."""
    async with flowing(Traffic(api.ports["grpc"], phase, _PER_SECOND)) as traffic:
        await asyncio.sleep(seconds)
    await eventually(lambda: _ended(platform, phase, "%", traffic[0].creates["OK"]), 120)


async def _ended(platform: Platform, user: str, status: str, count: int) -> bool:
    rows = await platform.query(
        "select count(*) from order_service.orders where user_id = %s and status like %s and status <> 'PENDING'",
        user,
        status,
    )
    return rows == [(count,)]


async def _seconds(platform: Platform, user: str, status: str, less: float) -> list[float]:
    """How long it took orders to get there, less what it had to take. By the history: an answer that comes too late
    changes an order once more."""
    rows = await platform.query(
        "select extract(epoch from e.occurred_at - o.created_at)::float - %s from order_service.orders o"
        " join order_service.order_events e on e.order_id = o.order_id and e.type = 'order.' || lower(%s)"
        " where o.user_id = %s",
        less,
        status,
        user,
    )
    return [seconds for (seconds,) in rows]


async def _still_stuck(platform: Platform) -> int:
    ((count,),) = await platform.query(
        "select count(*) from order_service.orders o join order_service.sagas s using (order_id)"
        " where o.user_id in ('unanswered', 'failing') and o.status = 'PENDING' and s.deadline_at is not null"
    )
    return int(count)


async def _remove_stuck(platform: Platform) -> None:
    """As if they had never been."""
    await platform.query(
        "delete from order_service.sagas where order_id in"
        " (select order_id from order_service.orders where user_id in ('unanswered', 'failing'))"
    )
    await platform.query("vacuum order_service.sagas")
