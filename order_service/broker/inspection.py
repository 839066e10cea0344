"""Looks at a live RabbitMQ: which nodes answer, and what is declared there. Changes nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from aiormq.exceptions import AMQPError

from order_service.broker import management
from order_service.broker.connection import Channel, Connection, channel_of, connected
from order_service.broker.existing_queue import ExistingQueue, answered, look_at
from order_service.broker.management import Binding, ManagementApi, Node, Permissions, Queue
from order_service.broker.topology import EVENTS_EXCHANGE, FANOUTS, OLD_STOCK_QUEUE, REPLY_QUEUES
from order_service.domain.errors import BrokerUnavailable

EXCHANGES: Final = {
    EVENTS_EXCHANGE: "durable topic",
    **dict.fromkeys(FANOUTS, "durable fanout"),
    **{queue.exchange: "durable fanout" for queue in REPLY_QUEUES.values()},
}
"""Every exchange of the contract, and what it is."""

OWN_QUEUES: Final = tuple(queue.name for queue in REPLY_QUEUES.values())


@dataclass(frozen=True, slots=True)
class Place:
    """A URL of RABBITMQ_URL without its password: the host and port, what answers there, or why nothing does."""

    address: str
    tls: bool
    local: bool
    product: str = ""
    wrong: str = ""


@dataclass(frozen=True, slots=True)
class AmqpFacts:
    """What AMQP tells: the places, and of the first that answers, which exchanges and queues are there (or None if they
    could not be looked at)."""

    places: tuple[Place, ...]
    exchanges: frozenset[str] = frozenset()
    queues: Mapping[str, ExistingQueue | None] | None = None


@dataclass(frozen=True, slots=True)
class ManagementFacts:
    """What the management API tells. `permissions` is None if they could not be seen. `listeners` are the queues that
    orders_exchange and the other exchanges of ours pass messages on to."""

    nodes: tuple[Node, ...]
    exchanges: Mapping[str, str | None]
    queues: Mapping[str, Queue | None]
    bindings: tuple[Binding, ...]
    user: str
    permissions: Permissions | None
    listeners: Mapping[str, Queue | None]


async def amqp_facts(urls: Sequence[str]) -> AmqpFacts:
    """Asks each node whether it answers, and the first that does what is declared. Never raises for what is away."""
    places: list[Place] = []
    seen: AmqpFacts | None = None
    for url in urls:
        try:
            async with connected([url], "doctor") as connection:
                seen = seen or await _declared(connection)
                places.append(_place(url, product=_product(connection)))
        except BrokerUnavailable as error:
            places.append(_place(url, wrong=str(error)))
    if seen is None:
        return AmqpFacts(tuple(places))
    return AmqpFacts(tuple(places), seen.exchanges, seen.queues)


async def management_facts(management_url: str, url: str) -> ManagementFacts:
    """What the management API says about the vhost of `url`. Raises BrokerUnavailable."""
    user = unquote(urlsplit(url).username or "guest")
    api = ManagementApi.at(management_url, url)
    administers = await management.may_administer(api)
    bindings = [binding for name in EXCHANGES for binding in await management.bindings_from(api, name)]
    others = {binding.destination for binding in bindings if binding.kind == "queue"} - {*OWN_QUEUES, OLD_STOCK_QUEUE}
    return ManagementFacts(
        nodes=await management.nodes(api),
        exchanges={name: await management.exchange_type(api, name) for name in EXCHANGES},
        queues={name: await management.queue(api, name) for name in (*OWN_QUEUES, OLD_STOCK_QUEUE)},
        bindings=tuple(bindings),
        user=user,
        permissions=await _permissions(api, user) if administers else None,
        listeners={name: await management.queue(api, name) for name in sorted(others)},
    )


async def _permissions(api: ManagementApi, user: str) -> Permissions:
    """Those of a user that has none allow nothing."""
    return await management.permissions(api, user) or Permissions("^$", "^$", "^$")


async def _declared(connection: Connection) -> AmqpFacts:
    exchanges = [name for name in EXCHANGES if await _has_exchange(connection, name)]
    queues = {name: await look_at(connection, name) for name in (*OWN_QUEUES, OLD_STOCK_QUEUE)}
    return AmqpFacts((), frozenset(exchanges), queues)


async def _has_exchange(connection: Connection, name: str) -> bool:
    async with channel_of(connection) as channel:
        return await _is_declared(channel, name)


async def _is_declared(channel: Channel, name: str) -> bool:
    """A refusal closes the channel, which must not be used again."""
    try:
        async with answered():
            await channel.exchange_declare(name, passive=True)
    except BrokerUnavailable as error:
        if isinstance(error.__cause__, AMQPError):
            return False
        raise
    return True


def _place(url: str, product: str = "", wrong: str = "") -> Place:
    parts = urlsplit(url)
    tls = parts.scheme == "amqps"
    host = parts.hostname or "localhost"
    address = f"{host}:{parts.port or (5671 if tls else 5672)}"
    return Place(address, tls, host in ("localhost", "127.0.0.1", "::1"), product, wrong)


def _product(connection: Connection) -> str:
    """As "RabbitMQ 3.10.8"; what calls itself otherwise is told as it does."""
    underlay: Any = getattr(connection.transport, "connection", None)
    told = getattr(underlay, "server_properties", None) or {}
    return f"{_text(told.get('product', 'unknown'))} {_text(told.get('version', ''))}".strip()


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes | bytearray) else str(value)
