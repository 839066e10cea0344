"""What one transaction can reach: each table's statements, over one connection."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cached_property
from typing import Any

from psycopg import AsyncConnection

from order_service.storage.create_requests import CreateRequests
from order_service.storage.events import Events
from order_service.storage.inbox import Inbox
from order_service.storage.orders import Orders
from order_service.storage.outbox import Outbox
from order_service.storage.parked_messages import ParkedMessages
from order_service.storage.relay_leases import RelayLeases
from order_service.storage.sagas import Sagas
from order_service.storage.server import Server

Connection = AsyncConnection[tuple[Any, ...]]


class UnitOfWork:
    """The tables, within one transaction (`Database.run`) or for queries (`Database.read`)."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @asynccontextmanager
    async def one_snapshot(self) -> AsyncIterator[None]:
        """Lets all queries within see the same moment."""
        async with self._connection.transaction():
            await self._connection.execute("set transaction isolation level repeatable read, read only")
            yield

    @cached_property
    def orders(self) -> Orders:
        """Orders and their items."""
        return Orders(self._connection)

    @cached_property
    def sagas(self) -> Sagas:
        """How far each order's saga has come."""
        return Sagas(self._connection)

    @cached_property
    def events(self) -> Events:
        """The history, and with it the only way to send a message."""
        return Events(self._connection)

    @cached_property
    def outbox(self) -> Outbox:
        """What is still to be sent."""
        return Outbox(self._connection)

    @cached_property
    def relay_leases(self) -> RelayLeases:
        """Which relay may send what."""
        return RelayLeases(self._connection)

    @cached_property
    def inbox(self) -> Inbox:
        """Which messages have had their effect."""
        return Inbox(self._connection)

    @cached_property
    def create_requests(self) -> CreateRequests:
        """The idempotency keys of CreateOrder."""
        return CreateRequests(self._connection)

    @cached_property
    def parked(self) -> ParkedMessages:
        """Messages that wait for an operator."""
        return ParkedMessages(self._connection)

    @cached_property
    def server(self) -> Server:
        """PostgreSQL itself: how it is set, and what this role may do."""
        return Server(self._connection)
