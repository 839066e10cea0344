"""Faults of the PostgreSQL pair. One at a time: never are both nodes destroyed."""

import asyncio
import signal

from tests.chaos.kinds import Act, Kind, NotNow
from tests.chaos.plan import Fault, Shape
from tests.chaos.rig import Rig


def postgresql_faults() -> list[Kind]:
    """Each hurts the primary, the standby, or what lies between them."""
    return [
        Kind(_shape("PostgreSQL restarted", 0.3, 2.0), _stop_primary(signal.SIGINT), _start_primary),
        Kind(_shape("PostgreSQL killed", 0.1, 2.0), _stop_primary(signal.SIGKILL), _start_primary),
        Kind(_shape("PostgreSQL frozen", 2.0, 12.0), _freeze_primary, _thaw_primary),
        Kind(_shape("PostgreSQL failover", 0.2, 1.0), _lose_primary, _fail_over),
        Kind(_shape("standby killed", 1.0, 5.0), _kill_standby, _start_standby),
        Kind(_shape("replication frozen", 2.0, 8.0), _freeze_replication, _thaw_replication),
        Kind(
            _shape("PostgreSQL disk full", 3.0, 8.0),
            _fill_disk,
            _free_disk,
            lambda rig: all(node.disk.is_small for node in rig.pair.nodes),
            "the right to mount a tmpfs",
        ),
    ]


def _shape(name: str, shortest: float, longest: float) -> Shape:
    return Shape(name, "PostgreSQL", (0,), shortest, longest, rest=6.0)


def _stop_primary(number: signal.Signals) -> Act:
    async def act(rig: Rig, fault: Fault) -> None:
        await rig.pair.primary.child.end(number)

    return act


async def _start_primary(rig: Rig, fault: Fault) -> None:
    await rig.pair.start(rig.pair.primary)
    await rig.pair.wait_until_safe()


async def _freeze_primary(rig: Rig, fault: Fault) -> None:
    rig.pair.primary.child.send_all(signal.SIGSTOP)


async def _thaw_primary(rig: Rig, fault: Fault) -> None:
    rig.pair.primary.child.send_all(signal.SIGCONT)
    await rig.pair.wait_until_safe()


async def _lose_primary(rig: Rig, fault: Fault) -> None:
    if not await rig.pair.is_safe():
        raise NotNow("the standby does not follow, and must not take over")
    await rig.pair.primary.child.end()


async def _fail_over(rig: Rig, fault: Fault) -> None:
    await rig.pair.promote_standby()
    await rig.pair.rebuild_standby()
    await rig.pair.wait_until_safe()


async def _kill_standby(rig: Rig, fault: Fault) -> None:
    await rig.pair.standby.child.end()


async def _start_standby(rig: Rig, fault: Fault) -> None:
    await rig.pair.start(rig.pair.standby)
    await rig.pair.wait_until_safe()


async def _freeze_replication(rig: Rig, fault: Fault) -> None:
    rig.pair.primary.followed_through.proxy.freeze()


async def _thaw_replication(rig: Rig, fault: Fault) -> None:
    rig.pair.primary.followed_through.proxy.thaw()
    await rig.pair.wait_until_safe()


async def _fill_disk(rig: Rig, fault: Fault) -> None:
    await asyncio.to_thread(rig.pair.primary.disk.fill)


async def _free_disk(rig: Rig, fault: Fault) -> None:
    await asyncio.to_thread(rig.pair.primary.disk.release)
    await rig.pair.start(rig.pair.primary)
    await rig.pair.wait_until_safe()
