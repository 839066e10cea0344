"""Sides that are measured in turn, there and back again, and compared round by round."""

import statistics
from collections.abc import Mapping, Sequence

from tests.bench.measured import Figure, Measure
from tests.endurance.measured import Tell

Rounds = Mapping[str, Sequence[Figure]]
"""What each side measured, round by round."""


async def in_turn(sides: Mapping[str, Measure], rounds: int, tell: Tell) -> Rounds:
    """Every side once in each round, the order of the sides reversed from one round to the next. A round before the
    first warms everything up and does not count."""
    figures: dict[str, list[Figure]] = {name: [] for name in sides}
    total = (rounds + 1) * len(sides)
    done = 0
    for number in range(rounds + 1):
        names = list(sides)[:: 1 if number % 2 else -1]
        for name in names:
            tell(done / total, f"round {number} of {rounds}, {name}" if number else f"warming up, {name}")
            figure = await sides[name]()
            done += 1
            if number:
                figures[name].append(figure)
    return figures


def median_ratio(measured: Sequence[Figure], beside: Sequence[Figure]) -> float:
    """The median of the rounds' ratios."""
    return statistics.median(one.value / other.value for one, other in zip(measured, beside, strict=True))


def median_value(measured: Sequence[Figure]) -> float:
    """The median of the rounds."""
    return statistics.median(one.value for one in measured)


def figures_of(rounds: Rounds, unit: str, per: str, digits: int = 0) -> dict[str, float]:
    """The median of each side, and what it cost each process in CPU time."""
    told: dict[str, float] = {}
    for side, measured in rounds.items():
        told[f"{side}: {unit}"] = round(median_value(measured), digits)
        for name in measured[0].cpu_us:
            spent = statistics.median(one.cpu_us[name] for one in measured)
            told[f"{side}: CPU us of {name} for {per}"] = round(spent, 1)
    return told
