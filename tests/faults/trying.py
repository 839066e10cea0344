"""One point, from arming the wire to the verdict."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final

from tests.faults.cast import collect
from tests.faults.cast.collecting import MENDED_BY_TIME
from tests.faults.history import History
from tests.faults.judge import judge, repeats
from tests.faults.lane import Lane
from tests.faults.points import Phase, Point, Process
from tests.faults.rules import Violation
from tests.faults.script import ENDINGS, IMPATIENT, IMPATIENT_MARK, PATHS, PATIENT, Run, play
from tests.faults.wire import Message, Plan
from tests.waiting import eventually

SETTLE_SECONDS: Final = 120.0
"""What has not come right by then is lost. Nothing takes so long, even on a machine that is busy with other things: a
lease lasts 1.25 s, a start 1 s, a connection that hangs at most 15 s."""

_POLL_SECONDS: Final = 0.03
_SLOW_POLL_SECONDS: Final = 0.25
_SLOW_AFTER_SECONDS: Final = 1.0
"""What has not settled by then waits for a time limit of seconds: asking often costs the others more than it gains."""

_WAITING_SECONDS: Final = 90.0
_COUNTS: Final = """
select (select count(*) from order_service.outbox) + (select count(*) from order_service.parked_messages)
       + (select count(*) from order_service.orders where status = 'PENDING')
"""


@dataclass(frozen=True, slots=True)
class Tried:
    """A point and what came of it."""

    point: Point
    message: Message | None
    """The message at which it was broken; None if the run ended before it."""
    violations: tuple[Violation, ...]
    repeats: int
    settled_after: float
    """Seconds from the fault, or from the start if there was none, until all was as it has to be."""
    passed: int
    """How many messages the wire had seen when the fault happened, or when it was clear that it would not."""
    history: History
    notes: tuple[str, ...] = ()
    """What else was wrong: the process ended although nobody killed it, or an order ended as none of its path can."""

    @property
    def reached(self) -> bool:
        """Whether the run got as far as the point's message."""
        return self.message is not None

    @property
    def kept(self) -> bool:
        """Whether every promise was."""
        return not self.violations and not self.notes


async def try_point(lane: Lane, point: Point, plan: Plan | None = None) -> Tried:
    """Tries it on a lane whose process is up, and leaves it so. With a `plan` it is at another message than that of the
    point's number."""
    mark = f"{point.number}x{next(lane.marks)}x"
    run = Run(mark, lane.patient, lane.impatient, lane.cast.recorder)
    lane.tried += 1
    if point.series.phase is Phase.STARTING:
        lane.kill()
        await lane.gone()
    script = asyncio.create_task(play(run))
    try:
        return await _break_and_judge(lane, point, plan or point.plan, run, script)
    finally:
        script.cancel()
        await asyncio.gather(script, return_exceptions=True)


async def _break_and_judge(lane: Lane, point: Point, plan: Plan, run: Run, script: "asyncio.Task[None]") -> Tried:
    if point.series.phase is Phase.STARTING:
        await _break_while_starting(lane, plan, run)
    else:
        await _break_at_work(lane, plan, run, script)
    lane.wire.disarm()
    message, passed, broken_at = lane.wire.message, lane.wire.passed, time.monotonic()
    if message is not None and point.series.mode.kills:
        await lane.gone()
        lane.spawn()
    await script
    await _settle(lane, run.mark)
    seconds = time.monotonic() - broken_at
    ended = _ended(lane)
    if not ended:
        await lane.ready()
    history = _part_of(await _history(lane), run.mark)
    violations = tuple(_judged(history))
    notes = tuple(filter(None, [ended, *_unexpected(history)]))
    return Tried(point, message, violations, repeats(history), seconds, passed, history, notes)


async def _break_at_work(lane: Lane, plan: Plan, run: Run, script: "asyncio.Task[None]") -> None:
    """Returns when the fault has happened, or everything is settled without it. The script has not begun yet."""
    lane.wire.arm(plan, lane.kill)
    await _first(lane.wire.struck.wait(), _played(lane, script, run.mark))


async def _break_while_starting(lane: Lane, plan: Plan, run: Run) -> None:
    """Returns when the fault has happened, or the process is ready without it."""
    if lane.process is Process.WORKER:
        await eventually(lambda: _waits(lane, run.mark), _WAITING_SECONDS)
    lane.wire.arm(plan, lane.kill)
    lane.spawn()
    with suppress(AssertionError):
        await _first(lane.wire.struck.wait(), lane.ready())


async def _played(lane: Lane, script: "asyncio.Task[None]", mark: str) -> None:
    await asyncio.shield(script)
    await _settle(lane, mark)


async def _first(*waiting: Coroutine[Any, Any, Any]) -> None:
    """Returns when one of them does, and ends the others."""
    tasks = [asyncio.create_task(one) for one in waiting]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()


async def _waits(lane: Lane, mark: str) -> bool:
    """Whether every order of the script has been acknowledged."""
    acknowledged = {call.user_id for call in lane.patient.calls + lane.impatient.calls if call.code == "OK"}
    return sum(user.endswith(mark) for user in acknowledged) == len(PATHS)


async def _settle(lane: Lane, mark: str) -> None:
    """Returns when all is as it has to be, or SETTLE_SECONDS have passed: then the judge says what is not."""
    began = time.monotonic()
    while (waited := time.monotonic() - began) < SETTLE_SECONDS:
        if await _is_settled(lane, mark):
            return
        await asyncio.sleep(_POLL_SECONDS if waited < _SLOW_AFTER_SECONDS else _SLOW_POLL_SECONDS)


async def _is_settled(lane: Lane, mark: str) -> bool:
    row = await (await lane.settling.execute(_COUNTS)).fetchone()
    if row is None or row[0]:
        return False
    history = _part_of(await _history(lane), mark)
    return not any(violation.rule in MENDED_BY_TIME for violation in _judged(history))


def _ended(lane: Lane) -> str:
    """How the process ended, if it has."""
    code = lane.running.process.poll() if lane.running else None
    return "" if code is None else f"the process ended by itself with {code}"


def _unexpected(history: History) -> Iterator[str]:
    """The orders that did not go their path to its end."""
    endings = {
        event.body["user_id"].split("-")[0]: (event.type, event.body.get("reason_code", ""))
        for event in sorted(history.events, key=lambda event: int(event.body["version"]))
        if event.type in ("order.confirmed", "order.cancelled")
    }
    for kind, ending in ENDINGS.items():
        if endings.get(kind) != ending:
            yield f"the order of {kind} ended with {endings.get(kind)} instead of {ending}"


async def _history(lane: Lane) -> History:
    return await collect(
        lane.settling,
        lane.cast,
        longest_wait=timedelta(0),
        most_repeats=0 if lane.process is Process.API else None,
    )


def _judged(history: History) -> list[Violation]:
    """Those whose deadlines never come, and those whose come at once, are judged apart."""
    hasty = _only(history, lambda user: IMPATIENT_MARK in user)
    patient = _only(history, lambda user: IMPATIENT_MARK not in user)
    return [
        *judge(replace(patient, shortest_wait=PATIENT)),
        *judge(replace(hasty, shortest_wait=IMPATIENT, unsent=0, parked=0)),
    ]


def _part_of(history: History, mark: str) -> History:
    return _only(history, lambda user: user.endswith(f"-{mark}"))


def _only(history: History, is_wanted: Callable[[str], bool]) -> History:
    """What has to do with some users, and with orders that nobody knows."""
    others = {order.order_id for order in history.orders if not is_wanted(order.user_id)}
    others |= {call.order_id for call in history.calls if not is_wanted(call.user_id)}
    return replace(
        history,
        calls=tuple(call for call in history.calls if is_wanted(call.user_id)),
        events=tuple(event for event in history.events if is_wanted(event.body["user_id"])),
        stock=tuple(line for line in history.stock if line.order_id not in others),
        payments=tuple(line for line in history.payments if line.order_id not in others),
        orders=tuple(order for order in history.orders if is_wanted(order.user_id)),
    )
