"""What a run looked like over time, and how soon orders flowed again after each fault."""

import asyncio
import bisect
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Final

import psycopg

from tests.chaos.plan import Fault
from tests.chaos.postgres_pair import USER
from tests.chaos.rig import Rig

_LOOK_SECONDS: Final = 0.1
_COUNT_SECONDS: Final = 1.0
_OUTCOMES: Final = ("order.confirmed", "order.cancelled")


@dataclass(slots=True)
class Struck:
    """A fault that struck. Times are monotonic, in seconds. `healed_at` is when what it hurt could work again."""

    fault: Fault
    struck_at: float
    healed_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Recovery:
    """How long after a fault was healed the first order went all the way. `alone`: no other fault of a server was in
    effect meanwhile, so that it is this one's recovery and no other's."""

    kind: str
    seconds: float
    alone: bool


@dataclass(slots=True)
class Timeline:
    """Moments, monotonic and in seconds, and what was then."""

    outcomes: dict[str, float] = field(default_factory=dict)
    """When the recorder heard of each order's first outcome."""
    backlog: list[tuple[float, int]] = field(default_factory=list)
    """Events that wait in the outbox; nothing while the database is away."""
    _heard: int = 0

    async def watch_outcomes(self, rig: Rig) -> None:
        """Until it is cancelled."""
        while True:
            events, now = rig.cast.recorder.events, time.monotonic()
            for event in events[self._heard :]:
                if event.type in _OUTCOMES:
                    self.outcomes.setdefault(str(event.body["order_id"]), now)
            self._heard = len(events)
            rig.books_at.append((now, len(rig.cast.stock.books)))
            await asyncio.sleep(_LOOK_SECONDS)

    async def watch_backlog(self, rig: Rig) -> None:
        """Until it is cancelled."""
        while True:
            try:
                async with asyncio.timeout(3):
                    ((count,),) = await rig.pair.primary.ask("select count(*) from order_service.outbox", USER)
                self.backlog.append((time.monotonic(), count))
            except (psycopg.Error, TimeoutError):
                pass
            await asyncio.sleep(_COUNT_SECONDS)


def recoveries(
    struck: Sequence[Struck], acknowledged: Mapping[str, float], outcomes: Mapping[str, float], severe: frozenset[str]
) -> list[Recovery]:
    """Of each fault that was healed and after which an order went all the way. `severe`: kinds that stop the flow."""
    flows = sorted((at, max(at, outcomes[order_id])) for order_id, at in acknowledged.items() if order_id in outcomes)
    found = []
    for one in struck:
        flowed_at = _flowed_at(flows, one.healed_at)
        if one.healed_at and flowed_at is not None:
            alone = not any(
                other is not one
                and other.fault.kind in severe
                and other.struck_at < flowed_at
                and (other.healed_at or flowed_at) > one.healed_at - 1
                for other in struck
            )
            found.append(Recovery(one.fault.kind, flowed_at - one.healed_at, alone))
    return found


def in_short(found: Sequence[Recovery]) -> dict[str, dict[str, float]]:
    """By kind of fault: median and longest recovery of those faults that were alone, and the longest of all."""
    kinds: dict[str, list[Recovery]] = {}
    for one in found:
        kinds.setdefault(one.kind, []).append(one)
    short = {}
    for kind, ones in sorted(kinds.items()):
        alone = [one.seconds for one in ones if one.alone]
        figures = {"median": median(alone), "max": max(alone)} if alone else {}
        figures["max_with_others"] = max(one.seconds for one in ones)
        short[kind] = {name: round(seconds, 2) for name, seconds in figures.items()}
    return short


def _flowed_at(flows: Sequence[tuple[float, float]], healed_at: float) -> float | None:
    """When the first of the orders that were acknowledged after that had its outcome."""
    after = flows[bisect.bisect_left(flows, (healed_at, 0.0)) :][:500]
    return min((outcome for _, outcome in after), default=None)
