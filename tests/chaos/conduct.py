"""One run: the plan is carried out while customers order, then all is healed and everything settles."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from tests.chaos.fleet import STOCK_SECONDS, database_url
from tests.chaos.kinds import Kind, NotNow
from tests.chaos.measuring import Struck, Timeline
from tests.chaos.plan import Fault
from tests.chaos.rig import Rig
from tests.chaos.traffic import Traffic
from tests.faults.cast import collect, settled
from tests.faults.history import History

LONGEST_WAIT: Final = timedelta(seconds=STOCK_SECONDS + 20)
_ACT_SECONDS: Final = 180.0
_LOOK_SECONDS: Final = 2.0


@dataclass(slots=True)
class Run:
    """A run and what came of it."""

    rig: Rig
    kinds: Mapping[str, Kind]
    traffic: Traffic
    timeline: Timeline = field(default_factory=Timeline)
    struck: list[Struck] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)
    """What the rig itself could not do."""
    began_at: float = field(default_factory=time.monotonic)
    ended_at: float = 0.0
    _busy: dict[str, asyncio.Lock] = field(default_factory=dict)

    async def carry_out(self, plan: Sequence[Fault], seconds: float, stopping: asyncio.Event) -> None:
        """Strikes as planned for `seconds`, or until `stopping` is set; returns when every fault is healed."""
        self.began_at = time.monotonic()
        over = asyncio.Event()
        ordering = asyncio.create_task(self.traffic.run(over))
        faults = [asyncio.create_task(self._suffer(fault, stopping)) for fault in plan]
        await _until(self.began_at + seconds, stopping)
        stopping.set()
        await asyncio.gather(*faults)
        over.set()
        await ordering
        self.ended_at = time.monotonic()

    async def settle(self, seconds: float) -> History:
        """Waits until everybody has what they want, at most so long; all that was seen."""
        url = database_url(self.rig.pair, tuple(node.port for node in self.rig.pair.nodes))
        ends = time.monotonic() + seconds
        await self.traffic.all_served(seconds)
        while True:
            if time.monotonic() > ends or await settled(url, self.rig.cast):
                break
            await asyncio.sleep(_LOOK_SECONDS)
        for listener in (self.rig.cast.stock, self.rig.cast.recorder):
            with suppress(AssertionError):
                await listener.caught_up()
        return await collect(
            url, self.rig.cast, longest_wait=LONGEST_WAIT, shortest_wait=timedelta(seconds=STOCK_SECONDS)
        )

    async def _suffer(self, fault: Fault, stopping: asyncio.Event) -> None:
        await _until(self.began_at + fault.at, stopping)
        kind = self.kinds[fault.kind]
        lock = self._busy.setdefault(kind.shape.busy(fault.target), asyncio.Lock())
        if stopping.is_set():
            return
        if lock.locked():
            self._leave_out(fault, f"{kind.shape.busy(fault.target)} has not recovered yet")
            return
        async with lock:
            await self._strike_and_heal(kind, fault, stopping)

    async def _strike_and_heal(self, kind: Kind, fault: Fault, stopping: asyncio.Event) -> None:
        struck = Struck(fault, time.monotonic())
        try:
            async with asyncio.timeout(_ACT_SECONDS):
                await kind.strike(self.rig, fault)
            self.struck.append(struck)
            self.rig.say(fault.told())
            await _until(struck.struck_at + fault.seconds, stopping)
        except NotNow as reason:
            self._leave_out(fault, str(reason))
            return
        except Exception as error:
            self._fail(fault, "strike", error)
        try:
            async with asyncio.timeout(_ACT_SECONDS):
                await kind.heal(self.rig, fault)
            struck.healed_at = time.monotonic()
        except Exception as error:
            self._fail(fault, "be healed", error)

    def _leave_out(self, fault: Fault, reason: str) -> None:
        self.left_out.append(f"{fault.kind}: {reason}")
        self.rig.say(f"{fault.at:6.1f} s  {fault.kind} left out: {reason}")

    def _fail(self, fault: Fault, what: str, error: Exception) -> None:
        told = f"{fault.kind} (number {fault.number}) could not {what}: {type(error).__name__}: {error}"
        self.troubles.append(told)
        self.rig.say(told)


async def _until(moment: float, stopping: asyncio.Event) -> None:
    """Waits for a moment of the monotonic clock, or until `stopping` is set."""
    with suppress(TimeoutError):
        async with asyncio.timeout(max(0.0, moment - time.monotonic())):
            await stopping.wait()
