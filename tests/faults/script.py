"""The orders of one run: every path that a saga can take, side by side.

Peers choose what they do by the prefix of a product or of a user (see `cast`). Orders that have to wait for a deadline
are taken by an api with short deadlines, all others by one with deadlines that never come: so each of the two can be
judged by what it may do.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from tests.faults.cast import Gateway, Recorder

PATIENT: Final = timedelta(minutes=5)
"""The deadlines of orders that are answered."""
IMPATIENT: Final = timedelta(milliseconds=100)
"""The deadlines of orders that nobody answers in time."""

IMPATIENT_MARK: Final = "hasty"
_PATIENCE_SECONDS: Final = 120.0
_POLL_SECONDS: Final = 0.01


@dataclass(frozen=True, slots=True)
class Run:
    """Whom a run's orders go to. `mark` is a part of the name of each of its users, and of no other run's."""

    mark: str
    patient: Gateway
    impatient: Gateway
    recorder: Recorder

    def user(self, kind: str) -> str:
        """A user of this run; a payment service that goes by prefixes sees `kind` first."""
        return f"{kind}-{self.mark}"

    def hasty_user(self, kind: str) -> str:
        """The same, of an order with a short deadline."""
        return f"{kind}-{IMPATIENT_MARK}-{self.mark}"


Path = Callable[[Run], Awaitable[object]]


async def play(run: Run) -> None:
    """Asks for everything at once; returns when all has been answered, or nobody can expect an answer any more."""
    await asyncio.gather(*(path(run) for path in PATHS))


async def _confirm(run: Run) -> None:
    """Asked for twice under one request_id, and both peers say everything twice."""
    user, items = run.user("double"), {"twice-tea": (2, 1999), "cup": (1, 450)}
    await run.patient.create(user, items, "once", _PATIENCE_SECONDS)
    await run.patient.create(user, items, "once", _PATIENCE_SECONDS)


async def _refuse_stock(run: Run) -> None:
    await run.patient.create(run.user("bob"), {"refuse-cup": (1, 450)}, "once", _PATIENCE_SECONDS)


async def _refuse_payment(run: Run) -> None:
    await run.patient.create(run.user("broke"), {"kettle": (1, 3900)}, "once", _PATIENCE_SECONDS)


async def _cancel_waiting(run: Run) -> None:
    user = run.user("eve")
    order_id = await run.patient.create(user, {"silent-tea": (1, 1999)}, "once", _PATIENCE_SECONDS)
    if order_id:
        await run.patient.cancel(user, order_id, _PATIENCE_SECONDS)


async def _cancel_confirmed(run: Run) -> None:
    user = run.user("fay")
    order_id = await run.patient.create(user, {"honey": (3, 725)}, "once", _PATIENCE_SECONDS)
    if order_id and await _is_confirmed(run, order_id):
        await run.patient.cancel(user, order_id, _PATIENCE_SECONDS)


async def _pass_deadline(run: Run) -> None:
    await run.impatient.create(run.hasty_user("gil"), {"silent-cup": (1, 450)}, "once", _PATIENCE_SECONDS)


async def _succeed_late(run: Run) -> None:
    await run.impatient.create(run.hasty_user("hal"), {"late-tea": (2, 1999)}, "once", _PATIENCE_SECONDS)


async def _is_confirmed(run: Run, order_id: str) -> bool:
    ends = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < ends:
        if "order.confirmed" in run.recorder.types_of(order_id):
            return True
        await asyncio.sleep(_POLL_SECONDS)
    return False


ENDINGS: Final = {
    "double": ("order.confirmed", ""),
    "bob": ("order.cancelled", "STOCK_REFUSED"),
    "broke": ("order.cancelled", "PAYMENT_REFUSED"),
    "eve": ("order.cancelled", "CANCELLED_BY_OWNER"),
    "fay": ("order.cancelled", "CANCELLED_BY_OWNER"),
    "gil": ("order.cancelled", "STOCK_TIMEOUT"),
    "hal": ("order.cancelled", "STOCK_TIMEOUT"),
}
"""By the kind of its user, how an order ends whatever is broken meanwhile, and for what reason."""

PATHS: Final[tuple[Path, ...]] = (
    _confirm,
    _refuse_stock,
    _refuse_payment,
    _cancel_waiting,
    _cancel_confirmed,
    _pass_deadline,
    _succeed_late,
)
