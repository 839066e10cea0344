"""The databases that are measured: empty ones, and filled ones, which are filled once for all who need them."""

import asyncio
import os
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psycopg

from tests.bench.api_processes import Site
from tests.bench.growth.filling import TABLES, Filling, fill
from tests.integration.platform import Platform, Servers

Filled = Callable[[int], None]
"""Told how many orders are there."""

BYTES_AN_ORDER: Final = 2_100
"""What one takes in all tables, indexes included."""

_BESIDE_BYTES: Final = 5_000_000_000
"""For the write-ahead log, the broker, and what is measured."""


class DiskTooSmall(Exception):
    """The tables would not fit; the text says what is free and what is needed."""


@dataclass(frozen=True, slots=True)
class Database:
    """One database with a vhost, and how many orders it was filled with."""

    site: Site
    orders: int

    @property
    def platform(self) -> Platform:
        """Where it is, and where processes on it are started."""
        return self.site.platform

    @property
    def label(self) -> str:
        """For people."""
        return f"{self.orders:,} orders"

    async def reset(self) -> None:
        """Nothing is under way and nothing waits any more. Whatever was placed into empty tables is gone; among very
        many orders it does not matter."""
        if not self.orders:
            names = ", ".join(f"order_service.{table}" for table in TABLES)
            await self.platform.query(f"truncate {names}")
        await self.platform.query("truncate order_service.outbox")
        await self.platform.query("delete from order_service.sagas where deadline_at is not null")


@dataclass(slots=True)
class Databases:
    """Made when they are asked for, gone when `stack` is closed; logs go to a folder each."""

    servers: Servers
    folder: Path
    stack: ExitStack
    _kept: dict[Filling, Database] = field(default_factory=dict)

    async def empty(self) -> Database:
        """A new one."""
        return Database(await Site.of(self._platform()), 0)

    async def with_orders(self, orders: int, listed: int = 0, filled: Filled = lambda done: None) -> Database:
        """The same to everybody who asks for the same. `listed` are `filling.LISTED_USER`'s. Raises DiskTooSmall."""
        filling = Filling(orders, listed)
        if filling not in self._kept:
            await asyncio.to_thread(check_disk, self.servers.database_url, orders)
            platform = self._platform()
            await fill(platform.database_url, filling, filled)
            self._kept[filling] = Database(await Site.of(platform), orders)
        return self._kept[filling]

    def _platform(self) -> Platform:
        number = sum(1 for _ in self.folder.iterdir())
        folder = self.folder / f"{number}"
        folder.mkdir()
        return self.stack.enter_context(Platform.make(self.servers, folder))


def check_disk(database_url: str, orders: int) -> None:
    """Raises DiskTooSmall if so many more orders would not fit. Of a server elsewhere nothing is known."""
    with psycopg.connect(database_url) as connection:
        row = connection.execute("select setting from pg_settings where name = 'data_directory'").fetchone()
    if row and os.access(row[0], os.X_OK):
        check_space(orders, shutil.disk_usage(row[0]).free)


def check_space(orders: int, free: int) -> None:
    """Raises DiskTooSmall unless so many orders and what is written beside them fit into so many bytes."""
    # What is measured beside a few orders is small too.
    needed = orders * BYTES_AN_ORDER + min(_BESIDE_BYTES, 500_000_000 + orders * BYTES_AN_ORDER)
    if free < needed:
        raise DiskTooSmall(
            f"{orders:,} orders need {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are free: make room, or give a"
            f" smaller --scale"
        )
