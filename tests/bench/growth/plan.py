"""What is measured, in which order, and how long that takes."""

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Final

from tests.bench.growth import by_size, filled_tables, footprint, listing, memory, old_transaction, workers
from tests.bench.growth.databases import Databases
from tests.bench.growth.measured import Measured
from tests.bench.growth.sizes import Sizes
from tests.endurance.measured import Tell


@dataclass(frozen=True, slots=True)
class Step:
    """One measure. `fixed_seconds` it takes at any size, `seconds` more at full size, at a guess."""

    name: str
    says: str
    run: Callable[[Databases, Sizes, Tell], Awaitable[Measured]]
    fixed_seconds: float
    seconds: float
    needs_tables: bool = False

    def takes(self, scale: float) -> float:
        """Seconds, at a guess."""
        return self.fixed_seconds + self.seconds * min(1.0, scale if self.name in _IN_PROPORTION else scale * 10)


_IN_PROPORTION: Final = frozenset({"fill", "memory"})

FILL: Final = Step("fill", "tables as very many orders leave them", filled_tables.fill_tables, 5, 700)

STEPS: Final[Sequence[Step]] = (
    Step("start", "from exec to serving, of an api and of a worker: under 2 s", footprint.start, 10, 0),
    Step("idle", "CPU of an api and of a worker with nothing to do: under 1% of a core", footprint.idle, 10, 30),
    Step("workers", "1, 2, 4, 8 workers on one database: never slower than with fewer", workers.more_workers, 60, 240),
    Step(
        "old-transaction",
        "a relay beside a transaction open all the while: 0.7 of its speed alone",
        old_transaction.old_transaction,
        10,
        150,
    ),
    Step("memory", "of an api and a worker over 500,000 orders: flat, under 150 MB", memory.memory, 10, 600),
    Step("create-order", "among 1 and 5 million orders: 0.9 of the empty speed", by_size.create_order, 15, 140, True),
    Step("relay", "among 1 and 5 million orders: 0.9 of the empty speed", by_size.relay, 10, 120, True),
    Step("saga", "among 1 and 5 million orders: 0.9 of the empty speed", by_size.saga, 10, 260, True),
    Step(
        "list-orders", "a user's pages among 5 million orders: 1.2 times the time", listing.list_orders, 10, 160, True
    ),
    Step(
        "idle-when-full",
        "the same as idle, with 5 million orders in the tables",
        footprint.idle_when_full,
        10,
        30,
        True,
    ),
)


def plan(only: Collection[str]) -> list[Step]:
    """The steps asked for, or all, in their order; the tables are filled before the first that needs them."""
    chosen = [step for step in STEPS if not only or step.name in only]
    place = next((place for place, step in enumerate(chosen) if step.needs_tables), None)
    if place is not None:
        chosen.insert(place, FILL)
    return chosen
