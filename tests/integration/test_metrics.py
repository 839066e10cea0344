"""/metrics of both processes, as Prometheus's own tools see them, after a flow of which every step is known."""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import pytest

from order_service.pb import order_pb2
from order_service.telemetry.metrics import Metrics
from tests.integration.calls import an_order, failure_of
from tests.integration.conftest import Shared
from tests.integration.peers import StockService, no_answer
from tests.integration.platform import Platform, gateway, http_get
from tests.integration.prometheus import Prometheus, complaints, prometheus
from tests.waiting import eventually

CREATE = 'grpc_method="CreateOrder"'
EXPECTED = {
    "grpc_server_started": {f"grpc_server_started_total{{{CREATE}}}": 6},
    "grpc_server_handled": {
        f'grpc_server_handled_total{{{CREATE},grpc_code="OK"}}': 5,
        f'grpc_server_handled_total{{{CREATE},grpc_code="INVALID_ARGUMENT"}}': 1,
        'grpc_server_handled_total{grpc_method="CancelOrder",grpc_code="OK",grpc_type="unary"}': 1,
    },
    "grpc_server_handling_seconds": {f"grpc_server_handling_seconds_count{{{CREATE}}}": 6},
    "order_service_orders": {
        'sum(order_service_orders_total{status="PENDING"})': 5,
        'sum(order_service_orders_total{status="CONFIRMED"})': 1,
        'order_service_orders_total{status="CANCELLED",job="worker"}': 2,
        'order_service_orders_total{status="CANCELLED",job="api"}': 1,
    },
    "order_service_saga_duration_seconds": {
        'order_service_saga_duration_seconds_count{outcome="CONFIRMED"}': 1,
        'sum(order_service_saga_duration_seconds_count{outcome="CANCELLED"})': 3,
    },
    "order_service_compensations": {'sum(order_service_compensations_total{step="stock"})': 1},
    "order_service_create_batch_orders": {'order_service_create_batch_orders_sum{job="api"}': 5},
    "order_service_outbox_backlog_messages": {'order_service_outbox_backlog_messages{job="worker"}': 0},
    "order_service_outbox_oldest_age_seconds": {'order_service_outbox_oldest_age_seconds{job="worker"}': 0},
    "order_service_relay_messages": {
        'order_service_relay_messages_total{type="order.created",result="confirmed"}': 4,
        'order_service_relay_messages_total{type="order.created",result="returned"} > bool 0': 1,
        'order_service_relay_messages_total{type="order.confirmed",result="returned"}': 1,
        'order_service_relay_messages_total{type="order.cancelled",result="returned"}': 3,
        'order_service_relay_messages_total{type="order.stock_release_requested",result="confirmed"}': 1,
        'sum(order_service_relay_messages_total{result="published"})'
        ' - ignoring(result) sum(order_service_relay_messages_total{result!="published"})': 0,
    },
    "order_service_replies": {
        'order_service_replies_total{step="stock",outcome="applied"}': 2,
        'order_service_replies_total{step="stock",outcome="duplicate"}': 1,
        'order_service_replies_total{step="stock",outcome="late"}': 1,
        'order_service_replies_total{step="stock",outcome="ignored"}': 1,
        'order_service_replies_total{step="stock",outcome="unknown"}': 1,
        'order_service_replies_total{step="stock",outcome="parked"}': 1,
    },
    "order_service_parked": {
        'order_service_parked_total{direction="IN",reason_code="UNREADABLE"}': 1,
        'order_service_parked_total{direction="IN",reason_code="UNKNOWN_ORDER"}': 1,
        'order_service_parked_total{direction="OUT",reason_code="NOT_TAKEN"}': 1,
    },
    "order_service_parked_messages": {
        'order_service_parked_messages{state="waiting"}': 3,
        'order_service_parked_messages{state="retrying"}': 0,
    },
    "order_service_db_pool_connections": {'sum(order_service_db_pool_connections{job="api"}) > bool 0': 1},
    "order_service_db_pool_waiting": {"sum(order_service_db_pool_waiting)": 0},
    "order_service_broker_connected": {"sum(order_service_broker_connected)": 3},
    "order_service_loop_failures": {"sum(order_service_loop_failures_total) or vector(0)": 0},
    "order_service_relay_leased_buckets": {'order_service_relay_leased_buckets{job="worker"}': 64},
    "order_service_build_info": {"count(order_service_build_info == 1)": 2},
}
"""What Prometheus says of each metric of the catalogue after `flow`."""


@pytest.fixture(scope="module")
def shared(shared_platform: Platform) -> Shared:
    """With short patience on both sides, after `flow`."""
    return asyncio.run(_after_flow(shared_platform))


async def _after_flow(platform: Platform) -> Shared:
    shared = Shared(platform, *await platform.start_both(RELAY_PARK_AFTER="1s", REPLY_RETRY_FOR="1s"))
    await flow(shared)
    return shared


async def flow(shared: Shared) -> None:
    """One order that nobody takes, one confirmed, one refused, one timed out and answered late, one cancelled; a
    duplicate, a contradiction, a reply for nobody, and rubbish."""
    platform = shared.platform
    async with gateway(shared.api) as stub:
        await failure_of(stub.CreateOrder(an_order("")))
        await stub.CreateOrder(an_order())
        await eventually(lambda: parked(platform, 1))
        async with StockService.running(platform, no_answer) as stock:
            confirmed, refused, late, cancelled = [(await stub.CreateOrder(an_order())).order.id for _ in range(4)]
            await eventually(lambda: len(stock.messages) == 4)
            for order_id, success in ((confirmed, True), (confirmed, True), (confirmed, False), (refused, False)):
                await stock.reply({"order_id": order_id, "success": success})
            await platform.query("update order_service.sagas set deadline_at = now() where order_id = %s", late)
            await eventually(lambda: status(platform, late, "CANCELLED"))
            await stock.reply({"order_id": late, "success": True})
            await stub.CancelOrder(order_pb2.CancelOrderRequest(order_id=cancelled, user_id="ada"))
            await stock.reply({"order_id": str(uuid4()), "success": True})
            await stock.send(b"rubbish")
            await eventually(lambda: parked(platform, 3))
            await eventually(lambda: stock.undone)


def values(asked: Prometheus, queries: Iterable[str]) -> dict[str, float | None]:
    """What Prometheus says now."""
    return {query: asked.value(query) for query in queries}


async def parked(platform: Platform, count: int) -> bool:
    """Whether so many messages wait for an operator."""
    query = "select count(*) from order_service.parked_messages where retry_at is null"
    return await platform.query(query) == [(count,)]


async def status(platform: Platform, order_id: str, wanted: str) -> bool:
    """Whether an order has a status."""
    query = "select status from order_service.orders where order_id = %s"
    return await platform.query(query, order_id) == [(wanted,)]


@pytest.mark.parametrize("process", ["api", "worker"])
async def test_prometheus_finds_no_fault_with(shared: Shared, process: str) -> None:
    port = {"api": shared.api, "worker": shared.worker}[process].ports["metrics"]

    _, metrics = http_get(port, "/metrics")

    assert await complaints(metrics) == ""


async def test_prometheus_scrapes_both_and_every_metric_tells_what_happened(shared: Shared, tmp_path: Path) -> None:
    ports = {"api": shared.api.ports["metrics"], "worker": shared.worker.ports["metrics"]}
    expected = {query: float(value) for queries in EXPECTED.values() for query, value in queries.items()}

    with prometheus(tmp_path, ports) as asked:
        await eventually(lambda: asked.targets() == {"api": ("up", ""), "worker": ("up", "")})
        with suppress(AssertionError):
            await eventually(lambda: values(asked, expected) == expected, 30)
        told = values(asked, expected)

    assert told == expected


def test_every_metric_of_the_catalogue_is_looked_at() -> None:
    catalogue = {family.name for family in Metrics().registry.collect()}

    ours = {name for name in catalogue if name.startswith(("order_service_", "grpc_"))}

    assert EXPECTED.keys() == ours


def test_no_id_is_a_label(shared: Shared) -> None:
    texts = [http_get(process.ports["metrics"], "/metrics")[1] for process in (shared.api, shared.worker)]

    assert not any("ada" in text or "order_id" in text for text in texts)
