"""What a scenario plays on: a platform, the cast, and processes that run the planted copy."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg

from order_service.private_servers.ports import LOOPBACK, reserved_ports
from tests.faults.cast import Cast, Gateway, PaymentService, Recorder, StockService, collect, settled
from tests.faults.history import Booking, Entry, History
from tests.faults.judge import Violation, judge
from tests.faults.wire import Wire
from tests.integration.platform import Platform, Running, Servers
from tests.waiting import eventually

SETTLE_SECONDS = 8.0
LAST_SECONDS = 3.0


class DoesNotStart(Exception):
    """A process does not even start: nothing is proved by that."""


@dataclass(slots=True)
class Stage:
    """Made by `set_up`. The parts of the cast enter when a scenario calls them (`enter_cast`)."""

    platform: Platform
    package: Path
    port: int
    gateways: list[Gateway]
    _stack: AsyncExitStack
    cast: Cast | None = None
    poison: int = 0
    most_repeats: int | None = None
    settings: dict[str, str] = field(default_factory=dict)
    shortest_wait: timedelta = timedelta(seconds=1)
    longest_wait: timedelta = timedelta(seconds=5)
    patience: float = 1.0
    """How many times as long everything may take to come right: with a bug planted it may never."""

    @property
    def gateway(self) -> Gateway:
        """Calls the api on the stage's port."""
        return self.gateways[0]

    @property
    def playing(self) -> Cast:
        """The cast, which has entered."""
        if self.cast is None:
            raise RuntimeError("the cast has not entered")
        return self.cast

    async def enter_cast(self, with_payment: bool = False) -> Cast:
        """Lets the recorder and the peers listen from now on."""
        url = self.platform.rabbitmq_url
        recorder = await self._stack.enter_async_context(Recorder.at(url))
        stock = await self._stack.enter_async_context(StockService.at(url))
        payment = await self._stack.enter_async_context(PaymentService.at(url)) if with_payment else None
        self.cast = Cast(self.gateways, stock, recorder, payment)
        return self.cast

    async def wire(self) -> Wire:
        """A Wire that stays until the verdict."""
        return await self._stack.enter_async_context(Wire.between())

    def deadline(self, seconds: int) -> None:
        """How long the processes that are started from now on wait for a reply."""
        self.settings |= {"SAGA_STOCK_TIMEOUT": f"{seconds}s", "SAGA_PAYMENT_TIMEOUT": f"{seconds}s"}
        self.shortest_wait = timedelta(seconds=seconds)
        self.longest_wait = timedelta(seconds=seconds + 4)

    def spawn(self, *arguments: str, **changes: str) -> Running:
        """A process of the planted copy, which is not waited for."""
        environment = {"PYTHONPATH": str(self.package), "GRPC_PORT": str(self.port), **self.settings, **changes}
        return self.platform.spawn(*arguments, **environment)

    async def start(self, *arguments: str, **changes: str) -> Running:
        """A process of the planted copy that can serve."""
        (running,) = await self.ready(self.spawn(*arguments, **changes))
        return running

    async def ready(self, *running: Running) -> tuple[Running, ...]:
        """Waits until processes can serve. Raises DoesNotStart."""
        for one in running:
            try:
                await self.platform.wait_until_ready(one)
            except AssertionError as error:
                raise DoesNotStart(str(error)) from error
        return running

    async def create(self, user: str, product: str = "ok-tea", seconds: float = 20.0) -> str:
        """An order of one product, asked for until it is acknowledged."""
        return await self.gateway.create(user, {product: (2, 1999)}, f"request-of-{user}", seconds)

    async def succeed(self, order_id: str) -> None:
        """Takes the stock of a silent product after all, and says so."""
        (asked,) = [line for line in self.playing.stock.books if line.order_id == order_id]
        self.playing.stock.books.append(Booking(Entry.TAKEN, order_id, asked.message_id, asked.quantities))
        await self.playing.stock.reply({"order_id": order_id, "success": True})

    async def asked_for_stock(self, order_id: str) -> None:
        """Returns when the stock service knows of an order."""
        await eventually(lambda: self.playing.stock.entries_of(order_id))

    async def has_status(self, order_id: str, status: str, seconds: float = 5.0) -> None:
        """Returns when an order's row has a status."""
        query = "select 1 from order_service.orders where order_id = %s and status = %s"
        await eventually(lambda: self.platform.query(query, order_id, status), seconds * self.patience)

    async def verdict(self) -> list[Violation]:
        """Waits until everything is worked off, or would be, and lets the judge speak.

        A last order goes the same way as all that was said before it: once it is confirmed, that has been heard."""
        if await self._settle():
            await self._last_order()
        return judge(await self._history())

    async def _last_order(self) -> None:
        last = await self.create("last-of-all", seconds=LAST_SECONDS * self.patience)
        with suppress(AssertionError):
            await self.has_status(last or "00000000-0000-0000-0000-000000000000", "CONFIRMED", LAST_SECONDS)
        await self._settle()
        parts = (self.playing.recorder, self.playing.stock, self.playing.payment)
        with suppress(AssertionError):
            await asyncio.gather(*[part.caught_up(5 * self.patience) for part in parts if part is not None])

    async def _settle(self) -> bool:
        """Whether everything is worked off within the time for it."""
        with suppress(AssertionError):
            return await eventually(self._settled, SETTLE_SECONDS * self.patience)
        return False

    async def _settled(self) -> bool:
        return await settled(self.platform.database_url, self.playing, poison=self.poison)

    async def _history(self) -> History:
        return await collect(
            self.platform.database_url,
            self.playing,
            longest_wait=self.longest_wait,
            shortest_wait=self.shortest_wait,
            poison=self.poison,
            most_repeats=self.most_repeats,
        )


@asynccontextmanager
async def set_up(servers: Servers, package: Path, folder: Path) -> AsyncIterator[Stage]:
    """A stage of its own. `folder` gets the logs."""
    async with (
        _platform(servers, folder) as (platform, port),
        AsyncExitStack() as stack,
        Gateway.to(f"{LOOPBACK}:{port}") as gateway,
    ):
        stage = Stage(platform, package, port, [gateway], stack)
        stage.deadline(1)
        try:
            yield stage
        finally:
            # Processes end before those they talk to: it is quicker.
            for running in platform.started:
                running.kill()


@asynccontextmanager
async def _platform(servers: Servers, folder: Path) -> AsyncIterator[tuple[Platform, int]]:
    """Made and removed beside the event loop: PostgreSQL drops a database only when whoever is connecting, such as
    another stage, has gone on."""
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    with reserved_ports(1) as (port,):
        made = Platform.make(servers, folder)
        platform = await asyncio.to_thread(made.__enter__)
        try:
            yield platform, port
        finally:
            await asyncio.to_thread(made.__exit__, None, None, None)


@asynccontextmanager
async def locked(platform: Platform, statement: str, *parameters: Any) -> AsyncIterator[None]:
    """Holds what a statement locks or claims, within the block; nothing of it stays."""
    async with await psycopg.AsyncConnection.connect(platform.database_url) as connection:
        await connection.execute(statement.encode(), parameters)
        yield
        await connection.rollback()


async def waiting(platform: Platform, count: int) -> bool:
    """Whether so many transactions wait for a lock."""
    rows = await platform.query(
        "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
    )
    return rows == [(count,)]
