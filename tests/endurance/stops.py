"""Asked to stop a hundred times under load: no call fails but by UNAVAILABLE, and nothing is lost."""

import asyncio
import time
from collections import Counter

from order_service.private_servers.ports import reserved_ports
from tests.endurance.measured import Bound, Result, Tell
from tests.endurance.traffic import Seen, Traffic, flowing
from tests.integration.peers import Recorder, StockService, success
from tests.integration.platform import Platform, Running
from tests.waiting import eventually

STOPS = 100
GRACE = 20.0
_ORDERS_BETWEEN = 40


async def lose_nothing(platform: Platform, scale: float, tell: Tell) -> Result:
    """Api and worker get SIGTERM together, over and over, while calls keep coming on several connections."""
    stops = max(2, round(STOPS * scale))
    with reserved_ports(1) as (port,):
        running = await platform.start_both(GRPC_PORT=str(port))
        async with StockService.running(platform, success), Recorder.running(platform) as recorder:
            seconds: list[float] = []
            codes: list[int] = []
            async with flowing(Traffic(port, "ada", per_second=500, channels=4, at_once=8, watches=2)) as traffic:
                for stop in range(stops):
                    tell(stop / stops, f"stop {stop + 1} of {stops}")
                    await _enough_more(platform)
                    ends = await asyncio.gather(*[_stopped(process) for process in running])
                    codes += [code for code, _ in ends]
                    seconds += [took for _, took in ends]
                    running = await platform.start_both(GRPC_PORT=str(port))
            tell(1, "waiting for every outcome")
            await eventually(lambda: _all_sent(platform), 60)
            stored = {row[0] for row in await platform.query("select order_id::text from order_service.orders")}
            await eventually(lambda: recorder.sent().outcomes() == {"order.confirmed": len(stored)}, 60)
    return _result(traffic[0], stored, recorder, seconds, codes)


def _result(seen: Seen, stored: set[str], recorder: Recorder, seconds: list[float], codes: list[int]) -> Result:
    events = recorder.sent()
    acknowledged = set(seen.acknowledged)
    failures = Counter(seen.creates) + Counter(seen.watches)
    unavailable = failures.pop("UNAVAILABLE", 0)
    del failures["OK"]
    in_order = all(
        [version for version, _ in history] == list(range(1, len(history) + 1))
        for history in events.histories().values()
    )
    figures = {"stops": len(codes), "acknowledged": len(acknowledged), "unavailable": unavailable} | failures
    return Result(
        "stops",
        figures,
        [
            Bound("RPCs that failed otherwise than by UNAVAILABLE", failures.total(), least=0, most=0),
            Bound("orders acknowledged and lost", len(acknowledged - stored), least=0, most=0),
            Bound("orders stored and not acknowledged", len(stored - acknowledged), least=0, most=0),
            Bound("orders whose events did not come, or not in order", int(not in_order), least=0, most=0),
            Bound("events repeated", events.repeats, least=0, most=0),
            Bound("exit codes other than 0", sum(code != 0 for code in codes), least=0, most=0),
            Bound("seconds to exit, at most", round(max(seconds), 2), most=GRACE),
        ],
    )


async def _enough_more(platform: Platform) -> None:
    """Returns when orders have come in since it was called."""

    async def count() -> int:
        return int((await platform.query("select count(*) from order_service.orders"))[0][0])

    async def enough() -> bool:
        return await count() >= before + _ORDERS_BETWEEN

    before = await count()
    await eventually(enough)


async def _stopped(process: Running) -> tuple[int, float]:
    began = time.monotonic()
    code = await asyncio.to_thread(process.stop)
    return code, time.monotonic() - began


async def _all_sent(platform: Platform) -> bool:
    return not await platform.query(
        "select 1 from order_service.outbox"
        " union all select 1 from order_service.orders where status = 'PENDING' limit 1"
    )
