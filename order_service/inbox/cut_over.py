"""Takes over what the service before this one left in its queue.

In this order, so that a crash at any instant loses nothing and the next run goes on from there: our own queue is bound;
what the old queue holds is handled; only then is the old queue unbound; what came until then is handled as well, until
nothing has come for a while; only then, and only if asked to, it is deleted, by a command that the broker refuses
unless the queue is empty and idle.

A reply that reached both queues has the same key in both, so the second one finds it handled. One whose order this
service does not know is parked, unless it is parked already: our own queue may have brought it before.
"""

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from order_service.broker.connection import Connection, connected
from order_service.broker.consumer import Consumer, Incoming, consuming
from order_service.broker.existing_queue import ExistingQueue, delete_if_idle, look_at, unbind
from order_service.broker.management import ManagementApi, bindings_from
from order_service.broker.topology import OLD_STOCK_QUEUE, REPLY_QUEUES
from order_service.domain.errors import OrderServiceError
from order_service.inbox.receive import Receiver
from order_service.saga.order_saga import StepName

OWN: Final = REPLY_QUEUES[StepName.STOCK]
SILENT_SECONDS: Final = 2.0
"""A message that was on its way when the queue was unbound arrives within milliseconds; a cluster may take longer."""
_STRAGGLING_SECONDS: Final = 5.0
_LINGER_SECONDS: Final = 5.0
_LOOK_SECONDS: Final = 0.1
_STILL_COMING: Final = (
    f"messages still come into {OLD_STOCK_QUEUE!r} though it was unbound from {OWN.exchange!r}: "
    "see what else fills it, unbind that, and run it again"
)


class CutOverRefused(OrderServiceError):
    """To go on would lose replies, or take them from someone. The text says what to do first."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the operator asks for: `delete` the empty queue at the end; `force` whoever else may be at work. With a
    `management` API it is also seen whether a binding of another kind is left."""

    delete: bool = False
    force: bool = False
    management: ManagementApi | None = None


def refusal(own: ExistingQueue | None, old: ExistingQueue, wanted: Wanted) -> str:
    """Why the cut-over may not begin, and what to do; empty if it may."""
    if own is None:
        return f"our own queue {OWN.name!r} is not there, so replies would be lost: start a worker first"
    if not own.consumers and not wanted.force:
        return f"no worker consumes {OWN.name!r}: start one first, or give --force to let replies wait there"
    if old.consumers and not wanted.force:
        return f"{old.consumers} other consumers of {old.name!r}: stop the old service first, or give --force"
    return ""


class CutOver:
    """One run. `existed`, `handled`, `unbound`, `left` and `deleted` say at any time how far it has come."""

    def __init__(
        self, receiver: Receiver, urls: Sequence[str], prefetch: int, on_progress: Callable[[int, int], None]
    ) -> None:
        self.existed = False
        self.found = 0
        self.handled = 0
        self.unbound = False
        self.left: int | None = None
        self.deleted = False
        self._receiver = receiver
        self._urls = urls
        self._prefetch = prefetch
        self._on_progress = on_progress

    async def run(self, wanted: Wanted) -> None:
        """Carries it out. Raises CutOverRefused, QueueInUse, StorageUnavailable, BrokerUnavailable: then run it again
        once the cause is mended."""
        async with connected(self._urls, "cut-over") as connection:
            old = await _settled(connection)
            if old is None:
                return
            self.existed, self.found = True, old.messages
            if wrong := refusal(await look_at(connection, OWN.name), old, wanted):
                raise CutOverRefused(wrong)
            await self._drain(connection, old.messages, wanted)
            await self._conclude(connection, wanted)

    async def _drain(self, connection: Connection, waiting: int, wanted: Wanted) -> None:
        """Declares and binds our own queue, as every consumer does, before anything else."""
        async with consuming(self._urls, OLD_STOCK_QUEUE, self._prefetch, exclusive=not wanted.force) as consumer:
            while self.handled < waiting and await self._next(consumer):
                pass
            await unbind(connection, OLD_STOCK_QUEUE, OWN.exchange)
            self.unbound = True
            old = await look_at(connection, OLD_STOCK_QUEUE)
            # What is delivered and not yet handled is not counted as waiting.
            await self._until_silent(consumer, self.handled + self._prefetch + (old.messages if old else 0))
            if await consumer.stop():
                raise CutOverRefused(_STILL_COMING)

    async def _until_silent(self, consumer: Consumer, expected: int) -> None:
        """Handles the rest. What comes beyond `expected` was on its way when the queue was unbound, which is soon over,
        or the queue is filled by someone else."""
        clock = asyncio.get_running_loop().time
        ends = math.inf
        while await self._next(consumer):
            if self.handled > expected:
                ends = min(ends, clock() + _STRAGGLING_SECONDS)
            if clock() > ends:
                raise CutOverRefused(_STILL_COMING)

    async def _next(self, consumer: Consumer) -> bool:
        """Handles what comes next; false if nothing has come for a while."""
        try:
            async with asyncio.timeout(SILENT_SECONDS):
                batch = await consumer.next_batch(self._prefetch)
        except TimeoutError:
            return False
        await self._receiver.handle([_maybe_known(message) for message in batch])
        await consumer.acknowledge(batch)
        self.handled += len(batch)
        self._on_progress(len(batch), self.found)
        return True

    async def _conclude(self, connection: Connection, wanted: Wanted) -> None:
        old = await look_at(connection, OLD_STOCK_QUEUE)
        self.left = old.messages if old else 0
        if self.left:
            raise CutOverRefused(_STILL_COMING)
        if wanted.management and (keys := await _bindings_left(wanted.management)):
            raise CutOverRefused(
                f"{OLD_STOCK_QUEUE!r} is still bound to {OWN.exchange!r}, with the routing key {', '.join(keys)}: "
                "unbind that by hand, and run it again"
            )
        if wanted.delete and old:
            await delete_if_idle(connection, OLD_STOCK_QUEUE)
            self.deleted = True


async def _bindings_left(management: ManagementApi) -> list[str]:
    """The routing keys. To unbind with a key that is not the binding's does nothing, and the broker does not say so."""
    bindings = await bindings_from(management, OWN.exchange)
    return [repr(one.routing_key) for one in bindings if one.destination == OLD_STOCK_QUEUE]


async def _settled(connection: Connection) -> ExistingQueue | None:
    """The old queue; if it has consumers, after a while: those of a run that was killed are gone by then."""
    ends = asyncio.get_running_loop().time() + _LINGER_SECONDS
    while True:
        old = await look_at(connection, OLD_STOCK_QUEUE)
        if old is None or not old.consumers or asyncio.get_running_loop().time() > ends:
            return old
        await asyncio.sleep(_LOOK_SECONDS)


def _maybe_known(message: Incoming) -> Incoming:
    """Our own queue may have brought it before: then it is not parked twice."""
    return replace(message, redelivered=True)
