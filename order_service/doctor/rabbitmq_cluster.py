"""Judges the nodes of a RabbitMQ cluster."""

from collections.abc import Sequence
from typing import Final

from order_service.broker.management import Node
from order_service.doctor.finding import Finding, Server, listed

RABBITMQ: Final = Server("RabbitMQ")

_GIBIBYTE: Final = 1024**3
_CLUSTER: Final = 3


def judge_cluster(nodes: Sequence[Node], urls: int) -> list[Finding]:
    """One finding for each check; `urls` is how many addresses the service was given."""
    if not nodes:
        how = "give the user of RABBITMQ_MANAGEMENT_URL the tag monitoring"
        return [
            RABBITMQ.not_checked("alarms", "may not be seen", "none", how),
            RABBITMQ.not_checked("cluster", "may not be seen", "every node runs, and sees the others", how),
        ]
    return [
        _alarms(nodes),
        _size(nodes),
        _running(nodes),
        _addresses(nodes, urls),
        _partitions(nodes),
        _partition_handling(nodes),
        _disk_limit(nodes),
    ]


def _alarms(nodes: Sequence[Node]) -> Finding:
    raised = [f"memory of {node.name}" for node in nodes if node.memory_alarm]
    raised += [f"disk of {node.name}" for node in nodes if node.disk_alarm]
    how = "free memory or disk, or raise the limit: until then the broker takes no event, and all wait in the outbox"
    return RABBITMQ.missing_unless(not raised, "alarms", listed(raised), "none", how)


def _size(nodes: Sequence[Node]) -> Finding:
    how = "join nodes into a cluster: until then nothing covers the loss of this node or its disk"
    return RABBITMQ.advice_unless(
        len(nodes) >= _CLUSTER, "nodes", len(nodes), f"{_CLUSTER} or more, an odd number", how
    )


def _running(nodes: Sequence[Node]) -> Finding:
    down = [node.name for node in nodes if not node.running]
    found = f"down: {listed(down)}" if down else "all"
    return RABBITMQ.missing_unless(
        not down, "running nodes", found, "all", "start them, or rabbitmqctl forget_cluster_node"
    )


def _addresses(nodes: Sequence[Node], urls: int) -> Finding:
    how = "name them all in RABBITMQ_URL, parted by commas: else the service waits while those named are down"
    return RABBITMQ.advice_unless(
        urls >= len(nodes), "addresses in RABBITMQ_URL", urls, f"one for each of {len(nodes)} nodes", how
    )


def _partitions(nodes: Sequence[Node]) -> Finding:
    split = [f"{node.name} from {listed(node.partitions)}" for node in nodes if node.partitions]
    how = "mend the network, then restart the nodes of the smaller side"
    return RABBITMQ.missing_unless(not split, "network partitions", listed(split), "none", how)


def _partition_handling(nodes: Sequence[Node]) -> Finding:
    check, wanted = "cluster_partition_handling", "pause_minority if there are several nodes"
    if len(nodes) == 1:
        return RABBITMQ.advice_unless(True, check, "of no account with one node", wanted, "")
    how = (
        "rabbitmqctl environment | grep cluster_partition_handling: with ignore or autoheal the platform's classic "
        "queues may lose what was confirmed (ours are quorum queues, and do not)"
    )
    return RABBITMQ.not_checked(check, "no API tells", wanted, how)


def _disk_limit(nodes: Sequence[Node]) -> Finding:
    lowest = min((node.disk_free_limit for node in nodes if node.running), default=0)
    how = "disk_free_limit.absolute = 2GB in rabbitmq.conf: a node whose disk is full crashes"
    found = f"{lowest / 1_000_000:,.0f} MB"
    return RABBITMQ.advice_unless(lowest >= _GIBIBYTE, "disk_free_limit", found, "at least 1 GiB", how)
