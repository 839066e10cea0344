"""What every table's module is made of: a connection and named queries."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypeVar

from psycopg import AsyncConnection

from order_service.storage.queries import queries

T = TypeVar("T")


class Table:
    """Runs the queries of `sql/<name>.sql` over one connection."""

    name: ClassVar[str]

    def __init__(self, connection: AsyncConnection[tuple[Any, ...]]) -> None:
        self._connection = connection

    async def _execute(self, query: str, **parameters: Any) -> None:
        """Sends a statement whose result does not matter; an error may surface only at the end of the transaction."""
        await self._connection.execute(queries(self.name)[query], parameters)

    async def _count(self, query: str, **parameters: Any) -> int:
        """How many rows a statement gives back (`returning 1`): within a pipeline psycopg knows no row count."""
        cursor = await self._connection.execute(queries(self.name)[query], parameters)
        return len(await cursor.fetchall())

    async def _all(self, query: str, into: Callable[..., T], **parameters: Any) -> list[T]:
        """Each row, its columns handed to `into` in their order."""
        cursor = await self._connection.execute(queries(self.name)[query], parameters)
        return [into(*row) for row in await cursor.fetchall()]

    async def _one(self, query: str, into: Callable[..., T], **parameters: Any) -> T | None:
        """The first row, or None."""
        found: Sequence[T] = await self._all(query, into, **parameters)
        return found[0] if found else None
