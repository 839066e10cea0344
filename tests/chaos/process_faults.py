"""Faults of the service's own processes, of their connections and of their clocks."""

import asyncio
import signal
import time
from collections.abc import Callable, Sequence
from typing import Final

from tests.chaos.fleet import APIS, WORKERS, Member
from tests.chaos.kinds import Act, Kind
from tests.chaos.links import Link
from tests.chaos.plan import Fault, Shape
from tests.chaos.rig import Rig
from tests.waiting import eventually

Ways = Callable[[Member], Sequence[Link]]

_ANY: Final = tuple(range(APIS + WORKERS))
_WORKERS: Final = _ANY[APIS:]
_SLOW_SECONDS: Final = 0.08


def process_faults() -> list[Kind]:
    """Each hurts one process and leaves the others alone."""
    return [
        Kind(_shape("process killed", _ANY, 0.5, 1.0, 4.0), _kill, _until_alive),
        Kind(_shape("process frozen", _ANY, 2.0, 12.0, 3.0), _freeze, _thaw),
        Kind(_shape("PostgreSQL connections cut", _ANY, 0.1, 3.0, 3.0), _cut(_postgresql), _restore(_postgresql)),
        Kind(_shape("RabbitMQ connections cut", _WORKERS, 0.1, 3.0, 3.0), _cut(_rabbitmq), _restore(_rabbitmq)),
        Kind(_half_open("PostgreSQL half-open", _ANY), _silence(_postgresql), _end_silence(_postgresql)),
        Kind(_half_open("RabbitMQ half-open", _WORKERS), _silence(_rabbitmq), _end_silence(_rabbitmq)),
        Kind(_shape("slow network", _ANY, 4.0, 10.0, 2.0), _slow_down, _speed_up),
        Kind(
            _shape("clock jump", _WORKERS[-1:], 4.0, 10.0, 2.0),
            _set_clock,
            _reset_clock,
            lambda rig: rig.fleet.members[-1].clock is not None,
            "libfaketime (apt-get install faketime)",
        ),
    ]


def _shape(name: str, members: tuple[int, ...], shortest: float, longest: float, rest: float) -> Shape:
    return Shape(name, "process", members, shortest, longest, rest, each=True)


def _half_open(name: str, members: tuple[int, ...]) -> Shape:
    """Longer than the 15 s within which it must be noticed."""
    return _shape(name, members, 16.0, 20.0, 5.0)


async def _kill(rig: Rig, fault: Fault) -> None:
    await _member(rig, fault).kill()


async def _until_alive(rig: Rig, fault: Fault) -> None:
    child = _member(rig, fault).child
    await eventually(lambda: child.is_alive)


async def _freeze(rig: Rig, fault: Fault) -> None:
    _member(rig, fault).child.send(signal.SIGSTOP)


async def _thaw(rig: Rig, fault: Fault) -> None:
    _member(rig, fault).child.send(signal.SIGCONT)


async def _set_clock(rig: Rig, fault: Fault) -> None:
    _member(rig, fault).set_clock("+3h" if fault.number % 2 else "-3h")


async def _reset_clock(rig: Rig, fault: Fault) -> None:
    _member(rig, fault).set_clock("+0")


async def _slow_down(rig: Rig, fault: Fault) -> None:
    for link in _all(_member(rig, fault)):
        link.proxy.delay_seconds = _SLOW_SECONDS


async def _speed_up(rig: Rig, fault: Fault) -> None:
    for link in _all(_member(rig, fault)):
        link.proxy.delay_seconds = 0.0


def _cut(ways: Ways) -> Act:
    async def act(rig: Rig, fault: Fault) -> None:
        for link in ways(_member(rig, fault)):
            await link.proxy.cut()

    return act


def _restore(ways: Ways) -> Act:
    async def act(rig: Rig, fault: Fault) -> None:
        for link in ways(_member(rig, fault)):
            await link.proxy.restore()

    return act


def _silence(ways: Ways) -> Act:
    async def act(rig: Rig, fault: Fault) -> None:
        links = ways(_member(rig, fault))
        for link in links:
            link.proxy.freeze()
        rig.background(_note_when_noticed(rig, fault, links))

    return act


def _end_silence(ways: Ways) -> Act:
    async def act(rig: Rig, fault: Fault) -> None:
        for link in ways(_member(rig, fault)):
            link.proxy.thaw()

    return act


async def _note_when_noticed(rig: Rig, fault: Fault, links: Sequence[Link]) -> None:
    """A process that has given up a connection asks for a new one. With PostgreSQL it may also ask because its pool
    grows while calls wait: there the time is the shortest that it can have been."""
    began = time.monotonic()
    before = sum(link.proxy.accepted for link in links)
    while time.monotonic() - began < fault.seconds:
        await asyncio.sleep(0.1)
        if sum(link.proxy.accepted for link in links) > before:
            rig.noticed.setdefault(fault.kind, []).append(time.monotonic() - began)
            return


def _postgresql(member: Member) -> Sequence[Link]:
    return member.to_postgresql


def _rabbitmq(member: Member) -> Sequence[Link]:
    return member.to_rabbitmq


def _all(member: Member) -> Sequence[Link]:
    return (*member.to_postgresql, *member.to_rabbitmq)


def _member(rig: Rig, fault: Fault) -> Member:
    return rig.fleet.members[fault.target]
