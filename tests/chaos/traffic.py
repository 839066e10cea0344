"""Steady load: customers of all kinds, each of whom asks until there is an answer."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from tests.faults.cast import Gateway, Items

PATHS: Final = {"ok-": 58, "refuse-": 12, "twice-": 15, "late-": 8, "silent-": 7}
"""What the stock service makes of an order, and how often of a hundred."""

_CANCELLED: Final = 0.06
_READ: Final = 0.1
_MOST_WAITING: Final = 300
"""So many customers wait at most; more stay away until some are answered."""

_SHORTEST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 0.5


@dataclass(slots=True)
class Traffic:
    """Orders at a steady rate, by way of several gateways."""

    gateways: Sequence[Gateway]
    per_second: float
    chance: random.Random
    placed: int = 0
    acknowledged: dict[str, float] = field(default_factory=dict)
    """When each order was acknowledged, in monotonic seconds."""
    _customers: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def waiting(self) -> int:
        """Customers who have not got what they want yet."""
        return len(self._customers)

    async def run(self, stopping: asyncio.Event) -> None:
        """Sends customers until `stopping` is set."""
        next_at = time.monotonic()
        while not stopping.is_set():
            next_at = max(next_at + 1 / self.per_second, time.monotonic() - 1)
            await asyncio.sleep(max(0.0, next_at - time.monotonic()))
            if len(self._customers) < _MOST_WAITING:
                self._send(self.placed)
                self.placed += 1

    async def all_served(self, seconds: float) -> bool:
        """Whether everybody got what they want within the time; those who did not are sent home."""
        if self._customers:
            await asyncio.wait(self._customers, timeout=seconds)
        left = tuple(self._customers)
        for customer in left:
            customer.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        return not left

    def _send(self, number: int) -> None:
        task = asyncio.create_task(self._buy(number, random.Random(self.chance.random())))
        self._customers.add(task)
        task.add_done_callback(self._customers.discard)

    async def _buy(self, number: int, chance: random.Random) -> None:
        user, request_id, items = f"customer-{number}", f"request-{number}", _items(number, chance)
        order_id = await self._insist(
            chance, lambda gateway: gateway.create(user, items, request_id=request_id, seconds=0)
        )
        self.acknowledged[order_id] = time.monotonic()
        if chance.random() < _CANCELLED:
            await asyncio.sleep(chance.uniform(0, 2))
            # An order that is refused or past its deadline by now answers with its own end, which is final as well.
            await self._once_or_twice(chance, lambda gateway: gateway.cancel(user, order_id, seconds=0))
        if chance.random() < _READ:
            await asyncio.sleep(chance.uniform(0, 2))
            await self._once_or_twice(chance, lambda gateway: gateway.get(user, order_id, seconds=0))

    async def _insist(self, chance: random.Random, ask: Callable[[Gateway], Awaitable[str]]) -> str:
        while True:
            if answer := await ask(chance.choice(self.gateways)):
                return answer
            await asyncio.sleep(chance.uniform(_SHORTEST_PAUSE, _LONGEST_PAUSE))

    async def _once_or_twice(self, chance: random.Random, ask: Callable[[Gateway], Awaitable[str]]) -> None:
        for _ in range(2):
            if await ask(chance.choice(self.gateways)):
                return
            await asyncio.sleep(chance.uniform(_SHORTEST_PAUSE, _LONGEST_PAUSE))


def _items(number: int, chance: random.Random) -> Items:
    (prefix,) = chance.choices(tuple(PATHS), weights=tuple(PATHS.values()))
    count = chance.randint(1, 3)
    return {
        f"{prefix}{(number + place) % 40}": (chance.randint(1, 4), chance.randint(1, 9_999)) for place in range(count)
    }
