"""Which relay may send which buckets of the outbox, for how long, by PostgreSQL's clock."""

from typing import ClassVar
from uuid import UUID

from order_service.storage.table import Table


class RelayLeases(Table):
    """The statements on `relay_leases` and `relays`."""

    name: ClassVar[str] = "relay_leases"

    async def keep(self, owner: UUID, ttl_seconds: float, let_go: bool = True) -> dict[int, int]:
        """Renews what `owner` holds, lets go what is above its fair share (unless told not to), takes what is free up
        to it. Returns the epoch of each bucket it holds now."""
        await self._execute("beat", owner=owner, ttl_seconds=ttl_seconds)
        await self._execute("renew", owner=owner, ttl_seconds=ttl_seconds, let_go=let_go)
        await self._execute("take", owner=owner, ttl_seconds=ttl_seconds)
        return dict(await self._all("held", lambda bucket, epoch: (bucket, epoch), owner=owner))

    async def release(self, owner: UUID) -> None:
        """Lets everything go, so that another relay can take over at once."""
        await self._execute("release", owner=owner)
