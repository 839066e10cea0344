"""Judges queues and bindings: whether a message that was confirmed can be dropped, or go nowhere."""

from collections.abc import Collection, Mapping
from typing import Final

from order_service.broker.inspection import OWN_QUEUES
from order_service.broker.management import Binding, Queue
from order_service.broker.topology import EVENTS_EXCHANGE, FANOUTS, REPLY_QUEUES
from order_service.doctor.finding import Finding, listed
from order_service.doctor.rabbitmq_cluster import RABBITMQ

_DROPPING: Final = ("max-length", "max-length-bytes", "message-ttl", "expires")
_LEAST_DELIVERIES: Final = 1_000_000
"""Below this a message that keeps coming back could be dropped by the broker; ours declares far more."""
_MEMBERS: Final = 3


def judge_queues(queues: Mapping[str, Queue | None], nodes: int) -> list[Finding]:
    """Our own queues; those that are not there are told by AMQP already."""
    own = [queue for name in OWN_QUEUES if (queue := queues.get(name)) is not None]
    return [
        finding
        for queue in own
        for finding in (_type(queue), _limits(queue), _delivery_limit(queue), _members(queue, nodes))
    ]


def judge_bindings(bindings: Collection[Binding], listeners: Mapping[str, Queue | None]) -> list[Finding]:
    """What leads to our queues and to the peers'."""
    return [_own_bindings(bindings), _orders_are_heard(bindings), _peers_limits(listeners)]


def _type(queue: Queue) -> Finding:
    how = "stop the workers, drain and delete it, and start them: they declare a quorum queue"
    good = queue.type == "quorum" and queue.durable
    return RABBITMQ.missing_unless(good, f"type of {queue.name}", queue.type, "quorum", how)


def _limits(queue: Queue) -> Finding:
    found = _dropping(queue)
    how = f"take it out of the policy {listed(queue.policies, '')} or of the queue's arguments: it drops replies"
    return RABBITMQ.missing_unless(not found, f"limits of {queue.name}", listed(found), "none that drops messages", how)


def _dropping(queue: Queue) -> list[str]:
    found = [f"{name} {queue.limits[name]}" for name in _DROPPING if name in queue.limits]
    if found and "overflow" in queue.limits:
        found.append(f"overflow {queue.limits['overflow']}")
    return found


def _delivery_limit(queue: Queue) -> Finding:
    found = queue.limits.get("delivery-limit")
    good = found is None if queue.type != "quorum" else isinstance(found, int) and found >= _LEAST_DELIVERIES
    how = "take it out of the policy; a queue declared without it: stop the workers, drain and delete it, start them"
    return RABBITMQ.missing_unless(
        good,
        f"delivery-limit of {queue.name}",
        "none" if found is None else f"{found}",
        f"at least {_LEAST_DELIVERIES:,}",
        how,
    )


def _members(queue: Queue, nodes: int) -> Finding:
    wanted = min(_MEMBERS, max(1, nodes))
    if queue.type != "quorum":
        return RABBITMQ.not_checked(f"members of {queue.name}", f"a {queue.type} queue", f"{wanted}, all online", "")
    away = set(queue.members) - set(queue.online)
    found = f"{len(queue.members)}, {f'away: {listed(sorted(away))}' if away else 'all online'}"
    if not queue.leader:
        found += ", no leader"
    good = len(queue.members) >= wanted and not away and bool(queue.leader)
    how = "bring the nodes back, or rabbitmq-queues grow NODE all: until then losing one more may lose the queue"
    return RABBITMQ.missing_unless(good, f"members of {queue.name}", found, f"{wanted}, all online", how)


def _own_bindings(bindings: Collection[Binding]) -> Finding:
    there = {(one.source, one.destination, one.kind, one.routing_key) for one in bindings}
    bound = {(source, destination, kind) for source, destination, kind, _ in there}
    lacking = [
        f"{EVENTS_EXCHANGE} to {fanout} ({event.value})"
        for fanout, event in FANOUTS.items()
        if (EVENTS_EXCHANGE, fanout, "exchange", event.value) not in there
    ]
    lacking += [
        f"{queue.exchange} to {queue.name}"
        for queue in REPLY_QUEUES.values()
        if (queue.exchange, queue.name, "queue") not in bound
    ]
    found = f"lacks {listed(lacking)}" if lacking else "as declared"
    return RABBITMQ.missing_unless(not lacking, "bindings", found, "as declared", "restart a worker: it binds them")


def _orders_are_heard(bindings: Collection[Binding]) -> Finding:
    (orders,) = (fanout for fanout, event in FANOUTS.items() if event.value == "order.created")
    queues = [one.destination for one in bindings if one.source == orders and one.kind == "queue"]
    how = f"start the stock service, or bind its queue to {orders}: until then orders wait, then time out"
    return RABBITMQ.missing_unless(bool(queues), f"queues on {orders}", listed(queues), "at least one", how)


def _peers_limits(listeners: Mapping[str, Queue | None]) -> Finding:
    limited = [
        f"{name} ({', '.join(found)})" for name, queue in listeners.items() if queue and (found := _dropping(queue))
    ]
    how = "ask its owner: what it drops the broker has confirmed to us, and nobody sends it again"
    return RABBITMQ.advice_unless(
        not limited, "limits of peers' queues", listed(limited), "none that drops messages", how
    )
