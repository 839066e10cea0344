"""The kinds of faults: how each strikes and how it is healed."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.chaos.plan import Fault, Shape
from tests.chaos.rig import Rig

Act = Callable[[Rig, Fault], Awaitable[None]]


class NotNow(Exception):
    """The fault would go beyond what the promise covers, so it is left out. The text says why."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of fault. `strike` begins it, `heal` ends it and returns once what was hurt could work again."""

    shape: Shape
    strike: Act
    heal: Act
    is_possible: Callable[[Rig], bool] = lambda _: True
    needs: str = ""
    """What is missing where it is not possible."""
