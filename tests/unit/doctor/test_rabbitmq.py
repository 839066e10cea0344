"""What is made of what RabbitMQ says about itself."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from order_service.broker.existing_queue import ExistingQueue
from order_service.broker.inspection import EXCHANGES, OWN_QUEUES, AmqpFacts, ManagementFacts, Place
from order_service.broker.management import Binding, Node, Permissions, Queue
from order_service.broker.topology import FANOUTS, OLD_STOCK_QUEUE, REPLY_QUEUES
from order_service.doctor.finding import Finding, Verdict
from order_service.doctor.rabbitmq import BrokerFacts, judge_broker

STOCK, PAYMENT = OWN_QUEUES
NODES = tuple(Node(name, True, False, False, 2_000_000_000, ()) for name in ("a", "b", "c"))
ALL = ("a", "b", "c")
PLACES = tuple(Place(f"{name}:5671", tls=True, local=False, product="RabbitMQ 3.13.7") for name in ALL)
AMQP = AmqpFacts(
    PLACES, frozenset(EXCHANGES), {name: ExistingQueue(name, 0, 1) for name in OWN_QUEUES} | {OLD_STOCK_QUEUE: None}
)
LIMITS = {"delivery-limit": 1_000_000_000}
QUEUE = Queue(STOCK, "quorum", True, LIMITS, (), ALL, ALL, "a")
PEER = Queue("product_service_order_created_queue", "classic", True, {}, (), (), (), "")
BINDINGS = (
    *(Binding("order.events", name, "exchange", event.value) for name, event in FANOUTS.items()),
    *(Binding(queue.exchange, queue.name, "queue", "") for queue in REPLY_QUEUES.values()),
    Binding("orders_exchange", PEER.name, "queue", ""),
)
KNOWN = ManagementFacts(
    nodes=NODES,
    exchanges=EXCHANGES,
    queues={STOCK: QUEUE, PAYMENT: replace(QUEUE, name=PAYMENT)},
    bindings=BINDINGS,
    user="order",
    permissions=Permissions(".*", ".*", ".*"),
    listeners={PEER.name: PEER},
)


def off(findings: list[Finding]) -> dict[str, Verdict]:
    """What is not as it should be."""
    return {finding.check: finding.verdict for finding in findings if finding.verdict is not Verdict.OK}


def known(**changes: Any) -> dict[str, Verdict]:
    return off(judge_broker(BrokerFacts(AMQP, replace(KNOWN, **changes))))


def with_stock(**changes: Any) -> Mapping[str, Queue | None]:
    return {**KNOWN.queues, STOCK: replace(QUEUE, **changes)}


def test_all_is_well_but_what_no_api_tells() -> None:
    findings = judge_broker(BrokerFacts(AMQP, KNOWN))

    assert off(findings) == {"cluster_partition_handling": Verdict.NOT_CHECKED}
    assert len({finding.check for finding in findings}) == len(findings)


@pytest.mark.parametrize(
    ("change", "check"),
    [
        ({"type": "classic", "members": (), "limits": {}}, f"type of {STOCK}"),
        ({"limits": {**LIMITS, "max-length": 5}}, f"limits of {STOCK}"),
        ({"limits": {**LIMITS, "message-ttl": 5, "overflow": "drop-head"}}, f"limits of {STOCK}"),
        ({"limits": {}}, f"delivery-limit of {STOCK}"),
        ({"limits": {"delivery-limit": 20}}, f"delivery-limit of {STOCK}"),
        ({"members": ("a",), "online": ("a",)}, f"members of {STOCK}"),
        ({"online": ("a", "b")}, f"members of {STOCK}"),
        ({"leader": ""}, f"members of {STOCK}"),
    ],
)
def test_a_queue_of_ours_that_may_lose_messages_is_named(change: dict[str, Any], check: str) -> None:
    missing = {name for name, verdict in known(queues=with_stock(**change)).items() if verdict is Verdict.MISSING}

    assert missing == {check}


def test_two_nodes_need_two_members() -> None:
    found = known(nodes=NODES[:2], queues={STOCK: replace(QUEUE, members=ALL[:2], online=ALL[:2])})

    assert found == {"nodes": Verdict.ADVICE, "cluster_partition_handling": Verdict.NOT_CHECKED}


@pytest.mark.parametrize(
    ("change", "check", "verdict"),
    [
        ({"memory_alarm": True}, "alarms", Verdict.MISSING),
        ({"disk_alarm": True}, "alarms", Verdict.MISSING),
        ({"running": False, "disk_free_limit": 0}, "running nodes", Verdict.MISSING),
        ({"partitions": ("b",)}, "network partitions", Verdict.MISSING),
        ({"disk_free_limit": 50_000_000}, "disk_free_limit", Verdict.ADVICE),
    ],
)
def test_a_node_that_is_not_well_is_named(change: dict[str, Any], check: str, verdict: Verdict) -> None:
    found = known(nodes=(replace(NODES[0], **change), *NODES[1:]))

    assert found.pop("cluster_partition_handling", None) in (None, Verdict.NOT_CHECKED)
    assert found == {check: verdict}


@pytest.mark.parametrize("gone", range(len(BINDINGS)))
def test_a_binding_that_is_not_there_is_named(gone: int) -> None:
    found = known(bindings=(*BINDINGS[:gone], *BINDINGS[gone + 1 :]))
    found.pop("cluster_partition_handling", None)

    is_peers = BINDINGS[gone].destination == PEER.name
    assert found == {"queues on orders_exchange" if is_peers else "bindings": Verdict.MISSING}


@pytest.mark.parametrize(
    ("permissions", "verdict"),
    [
        (Permissions("^order|_exchange$", "^order|_exchange$", "^order|_exchange$"), None),
        (Permissions("", ".*", ".*"), Verdict.MISSING),
        (Permissions(".*", "^order[.]events$", ".*"), Verdict.MISSING),
        (None, Verdict.NOT_CHECKED),
    ],
)
def test_the_users_permissions_are_held_against_the_names(
    permissions: Permissions | None, verdict: Verdict | None
) -> None:
    assert known(permissions=permissions).get("permissions") is verdict


def test_limits_of_others_queues_are_told() -> None:
    limited = replace(PEER, limits={"max-length": 10})

    assert known(listeners={PEER.name: limited})["limits of peers' queues"] is Verdict.ADVICE


def test_an_exchange_of_another_kind_is_named() -> None:
    assert known(exchanges={**EXCHANGES, "orders_exchange": "durable direct"})["types of exchanges"] is Verdict.MISSING


def test_nodes_that_may_not_be_seen_are_not_checked() -> None:
    found = known(nodes=(), queues={})

    assert (found["alarms"], found["cluster"]) == (Verdict.NOT_CHECKED, Verdict.NOT_CHECKED)


def test_one_address_that_does_not_answer_is_named_and_the_rest_judged() -> None:
    places = (*PLACES[:2], Place("c:5671", tls=True, local=False, wrong="ConnectionError"))

    found = off(judge_broker(BrokerFacts(replace(AMQP, places=places), KNOWN)))

    assert found["reachable at c:5671"] is Verdict.MISSING


def test_when_no_address_answers_that_is_all_that_is_said() -> None:
    nowhere = AmqpFacts((Place("a:5672", tls=False, local=True, wrong="ConnectionError"),))

    assert off(judge_broker(BrokerFacts(nowhere))) == {"reachable at a:5672": Verdict.MISSING}


@pytest.mark.parametrize(
    ("product", "good"),
    [("RabbitMQ 3.10.8", True), ("RabbitMQ 4.1.0", True), ("RabbitMQ 3.8.9", False), ("LavinMQ 2", False)],
)
def test_the_product_and_its_version_are_judged(product: str, good: bool) -> None:
    place = replace(PLACES[0], product=product)

    found = off(judge_broker(BrokerFacts(replace(AMQP, places=(place, *PLACES[1:])), KNOWN)))

    assert ("version at a:5671" in found) is not good


def test_queues_without_consumers_and_the_old_queue_are_advised_about() -> None:
    queues = {
        STOCK: ExistingQueue(STOCK, 7, 0),
        PAYMENT: None,
        OLD_STOCK_QUEUE: ExistingQueue(OLD_STOCK_QUEUE, 3, 0),
    }

    found = off(judge_broker(BrokerFacts(replace(AMQP, queues=queues), KNOWN)))

    assert found[f"consumers of {STOCK}"] is Verdict.ADVICE
    assert found[f"queue {PAYMENT}"] is Verdict.MISSING
    assert found["queue of the service before"] is Verdict.ADVICE
