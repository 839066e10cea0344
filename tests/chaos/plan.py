"""What is broken and when, drawn from a seed: the same seed gives the same plan."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

_SHORTEST_PAUSE: Final = 2.0
_LONGEST_PAUSE: Final = 5.0


@dataclass(frozen=True, slots=True)
class Shape:
    """What a kind of fault does to a plan. Times are in seconds.

    `resource` is what it keeps busy: no two faults hurt the same one at once, so that never both nodes of PostgreSQL
    nor a majority of the brokers are gone for good. With `each`, every target is a resource of its own.
    """

    name: str
    resource: str
    targets: tuple[int, ...]
    shortest: float
    longest: float
    rest: float
    """How long it takes to recover after it was healed."""
    each: bool = False

    def busy(self, target: int) -> str:
        """What a fault of this kind keeps busy."""
        return f"{self.resource} {target}" if self.each else self.resource


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: so many seconds after the start, of that kind, against that target, for so long."""

    number: int
    at: float
    kind: str
    target: int
    seconds: float

    def told(self) -> str:
        """A line of the plan."""
        return f"{self.at:6.1f} s  {self.kind:<26} target {self.target}  for {self.seconds:4.1f} s"


def draw(shapes: Sequence[Shape], seed: int, seconds: float) -> list[Fault]:
    """Faults, one each 2 to 5 s, of all kinds in turn as far as what they hurt has recovered; the last one is healed
    before `seconds` are over."""
    chance = random.Random(seed)
    bag: list[Shape] = []
    free_at: dict[str, float] = {}
    faults: list[Fault] = []
    for at in _moments(chance, seconds):
        if len(bag) <= len(shapes):
            bag += chance.sample(shapes, len(shapes))
        for shape in bag:
            target, lasting = chance.choice(shape.targets), round(chance.uniform(shape.shortest, shape.longest), 1)
            if free_at.get(shape.busy(target), 0.0) <= at and at + lasting <= seconds:
                free_at[shape.busy(target)] = at + lasting + shape.rest
                faults.append(Fault(len(faults), at, shape.name, target, lasting))
                bag.remove(shape)
                break
    return faults


def _moments(chance: random.Random, seconds: float) -> Iterator[float]:
    at = 0.0
    while (at := at + chance.uniform(_SHORTEST_PAUSE, _LONGEST_PAUSE)) < seconds:
        yield round(at, 1)
