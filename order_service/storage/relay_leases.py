"""Which relay may send which buckets of the outbox, for how long, by PostgreSQL's clock."""

from typing import ClassVar, Final
from uuid import UUID

from order_service.storage.table import Table

HOLD_SECONDS: Final = 30.0
"""How far ahead a bucket's own end is kept. Reached only if its owner stops and no relay is there that buries the dead:
0.1.0 takes over after this, others as soon as the owner is dead."""


class RelayLeases(Table):
    """The statements on `relay_leases` and `relays`."""

    name: ClassVar[str] = "relay_leases"

    async def stay(self, owner: UUID, ttl_seconds: float, let_go: bool = True) -> dict[int, int]:
        """In one statement, which needs no transaction: says that `owner`, which has been alive until now, lives for
        `ttl_seconds` more. Returns what `keep` would, if it had nothing else to do; else nothing."""
        held = await self._all(
            "stay", _epoch, owner=owner, ttl_seconds=ttl_seconds, hold_seconds=HOLD_SECONDS, let_go=let_go
        )
        return dict(held)

    async def keep(self, owner: UUID, ttl_seconds: float, let_go: bool = True) -> dict[int, int]:
        """Says that `owner` lives for `ttl_seconds` more, frees what dead relays hold, lets go what is above the fair
        share (unless told not to), takes what is free up to it. Returns the epoch of each bucket it holds now."""
        await self._execute("beat", owner=owner, ttl_seconds=ttl_seconds)
        await self._execute("bury", owner=owner)
        await self._execute("renew", owner=owner, hold_seconds=HOLD_SECONDS, let_go=let_go)
        await self._execute("take", owner=owner, hold_seconds=HOLD_SECONDS)
        return dict(await self._all("held", _epoch, owner=owner))

    async def release(self, owner: UUID) -> None:
        """Lets everything go, so that another relay can take over at once."""
        await self._execute("release", owner=owner)


def _epoch(bucket: int, epoch: int) -> tuple[int, int]:
    return bucket, epoch
