"""Several api processes on one port, and the process that speaks for them."""

import asyncio
import functools
import os
import signal
import socket
from collections.abc import AsyncIterator, Set
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import grpc

from order_service.pb import order_pb2_grpc
from tests.integration.calls import an_order
from tests.integration.load import Load, patient_gateway
from tests.integration.platform import Platform, Running, http_get, http_status
from tests.integration.process_table import children_of, connections_at, is_gone
from tests.integration.prometheus import complaints
from tests.waiting import eventually

CHANNELS = 24
"""That all of them go to one of two processes happens once in eight million times."""


async def test_processes_share_the_port_and_count_together(platform: Platform) -> None:
    group = await group_of_two(platform)
    async with channels(group.ports["grpc"]) as stubs:
        await asyncio.gather(*[stub.CreateOrder(an_order()) for stub in stubs])
        connected = [connections_at(group.ports["grpc"], pid) for pid in members(group)]
    metrics = http_get(group.ports["metrics"], "/metrics")[1]

    assert all(connected)
    assert sum(connected) == CHANNELS
    assert group.metric("grpc_server_handled_total", grpc_method="CreateOrder", grpc_code="OK") == CHANNELS
    assert group.metric("order_service_orders_total", status="PENDING") == CHANNELS
    assert group.metric("order_service_build_info") == 2
    assert all(group.metric("process_resident_memory_bytes", process=number) > 0 for number in "12")
    assert not await complaints(metrics)


async def test_a_process_that_dies_is_replaced_while_the_others_serve(platform: Platform) -> None:
    group = await group_of_two(platform)
    async with patient_gateway(group.ports["grpc"]) as stub:
        load = Load(stub, "ada")
        async with load.placing():
            for victim in sorted(members(group)):
                enough = len(load.acknowledged) + 50
                await eventually(functools.partial(has_acknowledged, load, enough))
                os.kill(victim, signal.SIGKILL)
                await eventually(functools.partial(are_two_without, group, victim))
    rows = await platform.query("select order_id::text from order_service.orders")
    counted = group.metric("order_service_orders_total", status="PENDING")
    exit_code = group.stop()

    assert {order_id for (order_id,) in rows} == set(load.acknowledged.values())
    assert counted <= len(rows)
    assert [line["ended"] for line in group.log_lines("api.process_ended")] == ["SIGKILL", "SIGKILL"]
    assert exit_code == 0


async def test_while_no_process_can_serve_the_group_is_not_ready(platform: Platform) -> None:
    group = await group_of_two(platform)
    for victim in members(group):
        os.kill(victim, signal.SIGKILL)
    await eventually(lambda: http_status(group.ports["metrics"], "/readyz") == 503)
    await eventually(lambda: http_status(group.ports["metrics"], "/readyz") == 200)

    assert group.stop() == 0


async def test_stopping_lets_every_process_answer_what_it_has_begun(platform: Platform) -> None:
    group = await group_of_two(platform)
    async with patient_gateway(group.ports["grpc"]) as stub:
        load = Load(stub, "ada")
        async with load.placing():
            await eventually(lambda: len(load.acknowledged) > 50)
            exit_code = await asyncio.to_thread(group.stop)
            group = await group_of_two(platform, GRPC_PORT=str(group.ports["grpc"]))

    assert exit_code == 0
    assert load.failures.keys() <= {grpc.StatusCode.UNAVAILABLE}


async def test_without_postgresql_none_is_ready_and_all_are_alive(platform: Platform) -> None:
    group = platform.spawn("api", "--processes", "2", DATABASE_URL="postgresql://ada:secret@127.0.0.1:1/orders")
    await eventually(lambda: "metrics" in platform.find_ports(group))
    port = group.ports["metrics"]
    await eventually(lambda: "api process 2" in http_get(port, "/readyz")[1])
    await eventually(lambda: http_get(port, "/readyz")[1].count("postgresql") == 2)

    assert http_status(port, "/readyz") == 503
    assert http_status(port, "/healthz") == 200
    assert "secret" not in http_get(port, "/readyz")[1]
    assert group.stop() == 0


async def test_a_process_that_cannot_ever_serve_ends_all(platform: Platform) -> None:
    await platform.query("update order_service.schema_migrations set checksum = 'other'")
    group = platform.spawn("api", "--processes", "2")
    exit_code = await asyncio.to_thread(group.process.wait, 30)

    assert exit_code == 1
    assert "before it could serve" in group.log_lines("process.failed")[-1]["error"]


async def test_a_port_that_somebody_listens_on_is_not_shared(platform: Platform) -> None:
    with socket.create_server(("127.0.0.1", 0), reuse_port=True) as other:
        port = other.getsockname()[1]
        group = platform.spawn("api", "--processes", "2", GRPC_PORT=str(port))
        exit_code = await asyncio.to_thread(group.process.wait, 30)

    assert exit_code == 1
    assert f"GRPC_PORT: cannot listen on 127.0.0.1:{port}" in group.log_lines("process.failed")[0]["error"]


async def test_processes_that_are_left_alone_stop(platform: Platform, tmp_path: Path) -> None:
    # Nobody is left to clear away the folder of the metrics.
    group = await group_of_two(platform, TMPDIR=str(tmp_path))
    orphans = members(group)
    group.kill()
    await eventually(lambda: all(is_gone(orphan) for orphan in orphans))

    assert len(group.log_lines("process.left_alone")) == 2
    assert len(group.log_lines("process.stopped")) == 2


@asynccontextmanager
async def channels(port: int) -> AsyncIterator[list["order_pb2_grpc.OrderServiceAsyncStub"]]:
    """Stubs with a connection each."""
    options = (("grpc.use_local_subchannel_pool", 1),)
    async with AsyncExitStack() as stack:
        opened = [grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) for _ in range(CHANNELS)]
        yield [order_pb2_grpc.OrderServiceStub(await stack.enter_async_context(one)) for one in opened]


async def group_of_two(platform: Platform, **changes: str) -> Running:
    """Both can serve."""
    group = await platform.start_api("--processes", "2", **changes)
    await eventually(lambda: len(group.log_lines("api.listening")) == 2)
    return group


def has_acknowledged(load: Load, count: int) -> bool:
    """More orders than that."""
    return len(load.acknowledged) > count


def are_two_without(group: Running, victim: int) -> bool:
    """Whether another process has taken the place of one, and has begun to count."""
    return victim not in members(group) and group.metric("order_service_build_info") == 2


def members(group: Running) -> Set[int]:
    """The ids of its processes."""
    return set(children_of(group.process.pid))
