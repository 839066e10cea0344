"""Faults of the RabbitMQ cluster. One node at a time: a majority is always left."""

import asyncio
import signal
from typing import Final

from tests.chaos.broker_cluster import NODES, BrokerNode
from tests.chaos.kinds import Kind
from tests.chaos.plan import Fault, Shape
from tests.chaos.rig import Rig

_BELOW_THE_LIMIT: Final = 20_000_000
"""So little is left free that the broker's alarm goes off (`disk_free_limit`), and yet nothing fails to be written."""


def broker_faults() -> list[Kind]:
    """Each hurts one node, or the network between it and the other two."""
    return [
        Kind(_shape("broker node killed", 0.5, 4.0), _kill, _start),
        Kind(_shape("broker node frozen", 3.0, 14.0), _freeze, _thaw),
        Kind(_shape("broker partition", 5.0, 10.0), _part, _join),
        Kind(_shape("broker partition, silent", 10.0, 16.0), _silence, _end_silence),
        Kind(_shape("broker memory alarm", 3.0, 7.0), _raise_memory_alarm, _end_memory_alarm),
        Kind(_shape("publishers blocked", 3.0, 7.0), _raise_disk_alarm, _free_disk, _may_fill, _NEEDS),
        Kind(_shape("broker disk full", 3.0, 7.0), _fill_disk, _free_disk_and_restart, _may_fill, _NEEDS),
    ]


def _shape(name: str, shortest: float, longest: float) -> Shape:
    return Shape(name, "broker", tuple(range(NODES)), shortest, longest, rest=10.0)


_NEEDS: Final = "the right to mount a tmpfs"


def _may_fill(rig: Rig) -> bool:
    return all(node.disk.is_small for node in rig.cluster.nodes)


async def _kill(rig: Rig, fault: Fault) -> None:
    await _node(rig, fault).child.end()


async def _start(rig: Rig, fault: Fault) -> None:
    await rig.cluster.mend()


async def _freeze(rig: Rig, fault: Fault) -> None:
    _node(rig, fault).child.send(signal.SIGSTOP)


async def _thaw(rig: Rig, fault: Fault) -> None:
    _node(rig, fault).child.send(signal.SIGCONT)
    await rig.cluster.mend()


async def _part(rig: Rig, fault: Fault) -> None:
    for link in rig.cluster.links_of(fault.target):
        await link.proxy.cut()


async def _join(rig: Rig, fault: Fault) -> None:
    for link in rig.cluster.links_of(fault.target):
        await link.proxy.restore()
    await rig.cluster.mend()


async def _silence(rig: Rig, fault: Fault) -> None:
    for link in rig.cluster.links_of(fault.target):
        link.proxy.freeze()


async def _end_silence(rig: Rig, fault: Fault) -> None:
    for link in rig.cluster.links_of(fault.target):
        link.proxy.thaw()
    await rig.cluster.mend()


async def _raise_memory_alarm(rig: Rig, fault: Fault) -> None:
    await _node(rig, fault).control("set_vm_memory_high_watermark", "absolute", "20MB")


async def _end_memory_alarm(rig: Rig, fault: Fault) -> None:
    await _node(rig, fault).control("set_vm_memory_high_watermark", "0.4")
    await rig.until_published()


async def _raise_disk_alarm(rig: Rig, fault: Fault) -> None:
    await asyncio.to_thread(_node(rig, fault).disk.fill, _BELOW_THE_LIMIT)


async def _fill_disk(rig: Rig, fault: Fault) -> None:
    await asyncio.to_thread(_node(rig, fault).disk.fill)


async def _free_disk(rig: Rig, fault: Fault) -> None:
    await asyncio.to_thread(_node(rig, fault).disk.release)
    await rig.cluster.mend()
    await rig.until_published()


async def _free_disk_and_restart(rig: Rig, fault: Fault) -> None:
    """A node that could not write gives up its part of every quorum queue for good, and goes on as if nothing were:
    consumers that come to it wait in vain. An operator restarts it."""
    await asyncio.to_thread(_node(rig, fault).disk.release)
    await _node(rig, fault).child.end()
    await rig.cluster.mend()
    await rig.until_published()


def _node(rig: Rig, fault: Fault) -> BrokerNode:
    return rig.cluster.nodes[fault.target]
