"""What operators and peers do to queues and messages."""

from tests.chaos.kinds import Kind
from tests.chaos.plan import Fault, Shape
from tests.chaos.rig import REPLIES_EXCHANGE, REPLY_QUEUE, Rig

_LOOK_BACK_SECONDS = 60.0


def message_faults() -> list[Kind]:
    """A queue that is deleted takes with it what it held: no promise covers that, so the stock service's operator has
    its replies repeated once the queue is back. That it comes back, with its binding, is the service's own work."""
    return [
        Kind(_shape("reply queue deleted", "broker", 1.0), _delete_queue, _repeat_what_was_lost),
        Kind(_shape("reply queue unbound", "broker", 1.0), _unbind_queue, _repeat_what_was_lost),
        Kind(_shape("replies repeated, reordered", "replies", 0.5), _repeat_shuffled, _nothing),
    ]


def _shape(name: str, resource: str, seconds: float) -> Shape:
    return Shape(name, resource, (0,), seconds, seconds * 2, rest=8.0)


async def _delete_queue(rig: Rig, fault: Fault) -> None:
    async with rig.operator_channel() as channel:
        await channel.queue_delete(REPLY_QUEUE)


async def _unbind_queue(rig: Rig, fault: Fault) -> None:
    async with rig.operator_channel() as channel:
        queue = await channel.get_queue(REPLY_QUEUE, ensure=False)
        await queue.unbind(REPLIES_EXCHANGE, "")


async def _repeat_what_was_lost(rig: Rig, fault: Fault) -> None:
    await rig.repeat_replies(_LOOK_BACK_SECONDS)


async def _repeat_shuffled(rig: Rig, fault: Fault) -> None:
    await rig.repeat_replies(10.0, shuffled=True)


async def _nothing(rig: Rig, fault: Fault) -> None:
    return
