"""Judges RabbitMQ by what AMQP tells of it, and by what only its management API knows."""

import re
from dataclasses import dataclass
from typing import Final

from order_service.broker.inspection import EXCHANGES, OWN_QUEUES, AmqpFacts, ManagementFacts, Place
from order_service.broker.topology import OLD_STOCK_QUEUE
from order_service.doctor.finding import Finding, listed
from order_service.doctor.rabbitmq_cluster import RABBITMQ, judge_cluster
from order_service.doctor.rabbitmq_queues import judge_bindings, judge_queues

OLDEST_VERSION: Final = (3, 10)
_GIVE_URL: Final = "set RABBITMQ_MANAGEMENT_URL, such as http://user:password@host:15672"
_NEEDS_MANAGEMENT: Final = {
    "alarms": "none",
    "types of queues and exchanges": "as declared",
    "bindings": "as declared, and orders_exchange has a queue",
    "limits of our queues": "none that drops messages",
    "members of our queues": "on several nodes",
    "permissions": "enough",
    "cluster": "every node runs, and sees the others",
}


@dataclass(frozen=True, slots=True)
class BrokerFacts:
    """What was read. `management` is None if no URL was given, or if it failed: then `management_wrong` says why."""

    amqp: AmqpFacts
    management: ManagementFacts | None = None
    management_wrong: str = ""


def judge_broker(facts: BrokerFacts) -> list[Finding]:
    """One finding for each check; only those about reaching it if no node answers."""
    places = [_reachable(place) for place in facts.amqp.places]
    if facts.amqp.queues is None:
        return places
    findings = [
        *places,
        *(_version(place) for place in facts.amqp.places if place.product),
        *(_tls(place) for place in facts.amqp.places),
        _exchanges(facts.amqp),
        *_queues(facts.amqp),
        _old_queue(facts.amqp),
    ]
    known = facts.management
    if known is None:
        why, how = (facts.management_wrong, "see that it answers") if facts.management_wrong else ("", _GIVE_URL)
        return findings + [
            RABBITMQ.not_checked(check, why or "AMQP cannot tell", wanted, how)
            for check, wanted in _NEEDS_MANAGEMENT.items()
        ]
    return [
        *findings,
        *judge_cluster(known.nodes, len(facts.amqp.places)),
        _types(known),
        *judge_bindings(known.bindings, known.listeners),
        *judge_queues(known.queues, len(known.nodes)),
        _permissions(known),
    ]


def _reachable(place: Place) -> Finding:
    return RABBITMQ.missing_unless(
        not place.wrong,
        f"reachable at {place.address}",
        place.wrong or "yes",
        "yes",
        "start it, or correct RABBITMQ_URL: the address, the user, the vhost",
    )


def _version(place: Place) -> Finding:
    numbers = tuple(int(number) for number in re.findall(r"\d+", place.product)[:2])
    wanted = f"RabbitMQ {'.'.join(map(str, OLDEST_VERSION))} or newer"
    return RABBITMQ.missing_unless(
        "RabbitMQ" in place.product and numbers >= OLDEST_VERSION,
        f"version at {place.address}",
        place.product,
        wanted,
        "upgrade it",
    )


def _tls(place: Place) -> Finding:
    found = "in use" if place.tls else "not in use"
    how = "listeners.ssl at the broker, amqps:// in RABBITMQ_URL"
    return RABBITMQ.advice_unless(
        place.tls or place.local, f"tls to {place.address}", found, "in use, unless on one machine", how
    )


def _exchanges(amqp: AmqpFacts) -> Finding:
    lacking = [name for name in EXCHANGES if name not in amqp.exchanges]
    found = f"lacks {listed(lacking)}" if lacking else "there"
    return RABBITMQ.missing_unless(not lacking, "exchanges", found, "there", "start a worker: it declares them")


def _queues(amqp: AmqpFacts) -> list[Finding]:
    findings = []
    for name in OWN_QUEUES:
        queue = (amqp.queues or {}).get(name)
        found = f"{queue.messages} messages" if queue else "not there"
        findings.append(
            RABBITMQ.missing_unless(
                queue is not None, f"queue {name}", found, "there", "start a worker: it declares and binds it"
            )
        )
        if queue:
            findings.append(
                RABBITMQ.advice_unless(
                    queue.consumers > 0, f"consumers of {name}", queue.consumers, "at least 1", "start a worker"
                )
            )
    return findings


def _old_queue(amqp: AmqpFacts) -> Finding:
    old = (amqp.queues or {}).get(OLD_STOCK_QUEUE)
    found = f"there, {old.messages} messages" if old else "not there"
    how = "once the old service is stopped: order-service cut-over, see docs/cut-over.md"
    return RABBITMQ.advice_unless(old is None, "queue of the service before", found, "not there", how)


def _types(known: ManagementFacts) -> Finding:
    wrong = [
        f"{name} is {found}"
        for name, found in known.exchanges.items()
        if found is not None and found != EXCHANGES[name]
    ]
    how = "delete it, and start a worker: it declares it anew (every publisher of the platform must agree)"
    return RABBITMQ.missing_unless(not wrong, "types of exchanges", listed(wrong, "as declared"), "as declared", how)


def _permissions(known: ManagementFacts) -> Finding:
    wanted = "configure, write and read all of ours"
    if known.permissions is None:
        return RABBITMQ.not_checked(
            "permissions", "may not be seen", wanted, "give the user of RABBITMQ_MANAGEMENT_URL the tag administrator"
        )
    names = (*EXCHANGES, *OWN_QUEUES)
    patterns = {
        "configure": known.permissions.configure,
        "write": known.permissions.write,
        "read": known.permissions.read,
    }
    lacking = [f"{right} {name}" for right, pattern in patterns.items() for name in names if not _fits(pattern, name)]
    found = f"lacks {listed(lacking)}" if lacking else "enough"
    how = f"rabbitmqctl set_permissions -p VHOST {known.user} with patterns that fit those names"
    return RABBITMQ.missing_unless(not lacking, "permissions", found, wanted, how)


def _fits(pattern: str, name: str) -> bool:
    """RabbitMQ takes an empty pattern as one that fits nothing. One that Python does not know is taken to fit."""
    try:
        return re.search(pattern or "^$", name) is not None
    except re.error:
        return True
