"""RabbitMQ's HTTP API: what AMQP cannot tell. Reads only."""

import asyncio
import base64
import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from order_service.domain.errors import BrokerUnavailable

_ANSWER_SECONDS: Final = 10.0
_HIDDEN: Final = (401, 403, 404)
"""What it answers about something that is not there, or that this user may not see."""


@dataclass(frozen=True, slots=True)
class ManagementApi:
    """Its address, with the credentials taken out, and the vhost that is asked about."""

    base: str
    vhost: str
    authorization: str = field(repr=False)

    @classmethod
    def at(cls, url: str, amqp_url: str) -> "ManagementApi":
        """From a URL such as http://user:password@host:15672, for the vhost of an AMQP URL."""
        parts = urlsplit(url)
        vhost = unquote(urlsplit(amqp_url).path[1:]) or "/"
        credentials = f"{unquote(parts.username or 'guest')}:{unquote(parts.password or 'guest')}"
        bare = parts._replace(netloc=parts.netloc.rpartition("@")[2], path=parts.path.rstrip("/"), query="")
        return cls(urlunsplit(bare), vhost, f"Basic {base64.b64encode(credentials.encode()).decode()}")

    async def get(self, path: str) -> Any:
        """The decoded answer, `{vhost}` in the path filled in; None for what is not there or may not be seen.
        Raises BrokerUnavailable."""
        return await asyncio.to_thread(self._get, path.replace("{vhost}", quote(self.vhost, safe="")))

    def _get(self, path: str) -> Any:
        request = urllib.request.Request(  # noqa: S310 - the operator's own address, http or https by its kind
            f"{self.base}/api/{path}", headers={"Authorization": self.authorization}
        )
        try:
            with urllib.request.urlopen(request, timeout=_ANSWER_SECONDS) as answer:  # noqa: S310 - the same
                return json.load(answer)
        except urllib.error.HTTPError as error:
            if error.code in _HIDDEN:
                return None
            raise BrokerUnavailable(f"the management API answers {error.code}") from error
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            raise BrokerUnavailable(f"the management API does not answer ({type(reason).__name__})") from error


@dataclass(frozen=True, slots=True)
class Node:
    """A node of the cluster; sizes are in bytes. `partitions`: the nodes that it has lost sight of."""

    name: str
    running: bool
    memory_alarm: bool
    disk_alarm: bool
    disk_free_limit: int
    partitions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue as the cluster has it. `limits`: its own arguments and the policies that apply to it, the `x-` left
    out; of one that several set, the strictest."""

    name: str
    type: str
    durable: bool
    limits: Mapping[str, Any]
    policies: tuple[str, ...]
    members: tuple[str, ...]
    online: tuple[str, ...]
    leader: str


@dataclass(frozen=True, slots=True)
class Binding:
    """From an exchange to a "queue" or an "exchange"."""

    source: str
    destination: str
    kind: str
    routing_key: str


@dataclass(frozen=True, slots=True)
class Permissions:
    """Patterns of the names that a user may configure, write to and read from, as RabbitMQ has them."""

    configure: str
    write: str
    read: str


async def nodes(api: ManagementApi) -> tuple[Node, ...]:
    """All of the cluster; empty if this user may not see them."""
    return tuple(
        Node(
            name=one["name"],
            running=bool(one.get("running")),
            memory_alarm=bool(one.get("mem_alarm")),
            disk_alarm=bool(one.get("disk_free_alarm")),
            disk_free_limit=int(one.get("disk_free_limit") or 0),
            partitions=tuple(one.get("partitions") or ()),
        )
        for one in await api.get("nodes") or ()
    )


async def queue(api: ManagementApi, name: str) -> Queue | None:
    """One queue, or None if there is none."""
    found = await api.get(f"queues/{{vhost}}/{quote(name, safe='')}")
    if found is None:
        return None
    arguments = {key.removeprefix("x-"): value for key, value in (found.get("arguments") or {}).items()}
    return Queue(
        name=name,
        type=found.get("type") or arguments.get("queue-type", "classic"),
        durable=bool(found.get("durable")),
        limits=_strictest(arguments, found.get("effective_policy_definition") or {}),
        policies=tuple(one for one in (found.get("policy"), found.get("operator_policy")) if one),
        members=tuple(found.get("members") or ()),
        online=tuple(found.get("online") or ()),
        leader=found.get("leader") or "",
    )


def _strictest(arguments: Mapping[str, Any], policy: Mapping[str, Any]) -> dict[str, Any]:
    limits = {**policy, **arguments}
    for name in policy.keys() & arguments.keys():
        if isinstance(policy[name], int) and isinstance(arguments[name], int):
            limits[name] = min(policy[name], arguments[name])
    return limits


async def exchange_type(api: ManagementApi, name: str) -> str | None:
    """As "durable fanout"; None if there is none."""
    found = await api.get(f"exchanges/{{vhost}}/{quote(name, safe='')}")
    if found is None:
        return None
    return f"{'durable' if found.get('durable') else 'transient'} {found.get('type')}"


async def bindings_from(api: ManagementApi, exchange: str) -> tuple[Binding, ...]:
    """Where an exchange passes messages on to."""
    found = await api.get(f"exchanges/{{vhost}}/{quote(exchange, safe='')}/bindings/source")
    return tuple(
        Binding(one["source"], one["destination"], one["destination_type"], one["routing_key"]) for one in found or ()
    )


async def permissions(api: ManagementApi, user: str) -> Permissions | None:
    """What a user may do in the vhost; None if it may do nothing, or that may not be seen."""
    found = await api.get(f"permissions/{{vhost}}/{quote(user, safe='')}")
    return Permissions(found["configure"], found["write"], found["read"]) if found else None


async def may_administer(api: ManagementApi) -> bool:
    """Whether the API's own user may see permissions. Raises BrokerUnavailable, also if it is not let in."""
    found = await api.get("whoami")
    if found is None:
        raise BrokerUnavailable("the management API refuses the user of RABBITMQ_MANAGEMENT_URL")
    tags = found.get("tags") or ()
    return "administrator" in (tags.split(",") if isinstance(tags, str) else tags)
