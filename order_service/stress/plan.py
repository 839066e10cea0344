"""What a run sends, and when: a value, worked out before anything is sent."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_ORDERS_OF_A_USER: Final = 100


@dataclass(frozen=True, slots=True)
class Rpc:
    """One call: the number of its first order in the run, from 0, and how many orders it has."""

    first: int
    count: int

    @property
    def numbers(self) -> range:
        """The numbers of its orders."""
        return range(self.first, self.first + self.count)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """`num` orders, `batch` in each RPC, at most `concurrency` RPCs in flight, at `rate` orders a second or, for None,
    as fast as they are answered. `timeout` is that of an RPC, `wait` how long outcomes are waited for after the last
    (None: not at all), both in seconds; `sample` is how many orders are asked for theirs, at most (100 or more).
    """

    target: str
    run_id: str
    num: int
    batch: int
    concurrency: int
    rate: float | None
    connections: int
    timeout: float
    wait: float | None
    sample: int
    user: str
    items: int
    products: tuple[str, ...]
    seed: int

    def rpcs(self) -> Iterator[Rpc]:
        """The calls, in the order in which they are sent. The last may be smaller."""
        for first in range(0, self.num, self.batch):
            yield Rpc(first, min(self.batch, self.num - first))

    def due(self, rpc: Rpc) -> float | None:
        """When a call is to be sent, in seconds from the start; None if that depends on answers."""
        return None if self.rate is None else rpc.first / self.rate

    def user_of(self, number: int) -> str:
        """Whose order it is. Each user has about a hundred, spread over the whole run."""
        return self._name(number % self._users)

    def is_sampled(self, number: int) -> bool:
        """Whether this order is asked for its outcome: all orders of a user or none."""
        return number % self._users % self._step == 0

    def sampled_users(self) -> Iterator[str]:
        """Those whose orders are asked for their outcome: spread evenly."""
        return (self._name(place) for place in range(0, self._users, self._step))

    @property
    def _users(self) -> int:
        return -(-self.num // _ORDERS_OF_A_USER)

    @property
    def _step(self) -> int:
        return 1 if self.num <= self.sample else -(-self._users // (self.sample // _ORDERS_OF_A_USER))

    def _name(self, place: int) -> str:
        return f"{self.user}-{self.run_id}-{place}"
