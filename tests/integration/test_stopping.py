"""Processes that are asked to stop, that cannot start, and that must not go on."""

import asyncio
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from order_service.pb import order_pb2
from order_service.private_servers.ports import reserved_ports
from tests.integration.calls import an_order, failure_of
from tests.integration.commands import ORDER_SERVICE
from tests.integration.held_back import held_back
from tests.integration.load import Load, patient_gateway
from tests.integration.peers import Recorder, StockService, success
from tests.integration.platform import Child, Platform, Running, gateway, http_get, http_status
from tests.integration.tcp_proxy import TcpProxy
from tests.waiting import eventually

GRACE = 20.0


async def test_stopping_under_load_fails_nothing_that_was_begun_and_loses_nothing(platform: Platform) -> None:
    with reserved_ports(1) as (port,):
        api, worker = await platform.start_both(GRPC_PORT=str(port))
        async with (
            StockService.running(platform, success),
            Recorder.running(platform) as recorder,
            patient_gateway(port) as stub,
        ):
            load = Load(stub, "ada", per_second=300)
            async with load.placing():
                for _ in range(3):
                    enough = len(load.acknowledged) + 50
                    await eventually(lambda enough=enough: len(load.acknowledged) > enough)  # type: ignore[misc]
                    ends = await asyncio.gather(stopped(api), stopped(worker))
                    api, worker = await platform.start_both(GRPC_PORT=str(port))
                    assert [code for code, _ in ends] == [0, 0]
                    assert max(seconds for _, seconds in ends) < GRACE / 2
            await eventually(lambda: len(recorder.sent().histories()) == len(load.acknowledged))
            await eventually(lambda: recorder.sent().are_settled())
            rows = await platform.query("select order_id::text from order_service.orders")

    events = recorder.sent()
    events.assert_in_version_order()
    handled = {line["code"] for process in platform.started for line in process.log_lines("rpc.handled")}
    assert {"OK"} <= handled <= {"OK", "UNAVAILABLE"}
    assert load.failures.keys() == {grpc.StatusCode.UNAVAILABLE}
    assert {order_id for (order_id,) in rows} == set(load.acknowledged.values()) == events.histories().keys()
    assert events.repeats == 0


async def test_a_call_under_way_is_answered_before_the_server_is_gone(platform: Platform) -> None:
    api = await platform.start_api(SHUTDOWN_GRACE="60s", DATABASE_TIMEOUT="60s")

    async with gateway(api) as stub:
        async with held_back(platform) as waiting:
            call = asyncio.ensure_future(stub.CreateOrder(an_order()))
            await eventually(lambda: waiting(1))
            exiting = asyncio.ensure_future(stopped(api))
            await eventually(lambda: api.log_lines("process.stopping"))
            await eventually(lambda: refuses_connections(api))
            refused = await failure_of(stub.CreateOrder(an_order()))
            answered_early = call.done()
        order = (await call).order
        code, _ = await exiting

    assert not answered_early
    assert (refused.code, refused.retry_seconds) == (grpc.StatusCode.UNAVAILABLE, 1)
    assert order.status == order_pb2.PENDING
    assert code == 0


async def test_a_call_that_takes_longer_than_the_grace_does_not_keep_the_server(platform: Platform) -> None:
    api = await platform.start_api(SHUTDOWN_GRACE="1s", DATABASE_TIMEOUT="4s")

    async with gateway(api) as stub, held_back(platform) as waiting:
        call = asyncio.ensure_future(failure_of(stub.CreateOrder(an_order())))
        await eventually(lambda: waiting(1))
        code, seconds = await stopped(api)
        failure = await call

    assert code == 0
    # The grace, then a second for the server and DATABASE_TIMEOUT for the connections to close.
    assert seconds < GRACE
    assert failure.code is grpc.StatusCode.UNAVAILABLE


async def test_health_says_not_serving_before_the_server_is_gone(platform: Platform) -> None:
    api = await platform.start_api(SHUTDOWN_GRACE="60s", DATABASE_TIMEOUT="60s")

    async with gateway(api) as stub, grpc.aio.insecure_channel(f"127.0.0.1:{api.ports['grpc']}") as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        await eventually(lambda: is_serving(health))
        watch = health.Watch(health_pb2.HealthCheckRequest())
        told = [(await watch.read()).status]
        async with held_back(platform) as waiting:
            call = asyncio.ensure_future(stub.CreateOrder(an_order()))
            await eventually(lambda: waiting(1))
            exiting = asyncio.ensure_future(stopped(api))
            told.append((await watch.read()).status)
        await call
        code, _ = await exiting
        ended = await watch.code()

    assert told == [health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING]
    assert ended is grpc.StatusCode.UNAVAILABLE
    assert code == 0


@pytest.mark.parametrize("kind", ["api", "worker"])
async def test_a_process_that_still_waits_for_postgresql_stops_at_once(platform: Platform, kind: str) -> None:
    async with TcpProxy.to(platform.database_url) as (proxy, url):
        await proxy.cut()
        process = platform.spawn(kind, DATABASE_URL=url, DATABASE_TIMEOUT="1s")
        await eventually(lambda: process.log_lines("process.waiting_for_postgresql"))
        code, seconds = await stopped(process)

    assert code == 0
    assert seconds < GRACE / 2


async def test_without_postgresql_a_process_starts_by_waiting_and_then_serves(platform: Platform) -> None:
    async with TcpProxy.to(platform.database_url) as (proxy, url):
        await proxy.cut()
        api = platform.spawn("api", DATABASE_URL=url)
        await eventually(lambda: api.log_lines("process.waiting_for_postgresql"))
        port = platform.find_ports(api)["metrics"]
        probes = [http_status(port, "/healthz"), http_status(port, "/readyz")]
        told = http_get(port, "/readyz")[1]
        await proxy.restore()
        await platform.wait_until_ready(api)
        async with gateway(api) as stub:
            order = (await stub.CreateOrder(an_order())).order

    assert probes == [200, 503]
    assert "postgresql" in told
    assert order.status == order_pb2.PENDING


async def test_without_rabbitmq_a_worker_starts_by_waiting_and_then_works(platform: Platform) -> None:
    async with TcpProxy.to(platform.rabbitmq_url) as (proxy, url):
        await proxy.cut()
        worker = platform.spawn("worker", RABBITMQ_URL=url)
        await eventually(lambda: worker.log_lines("relay.unavailable"))
        unready = http_get(platform.find_ports(worker)["metrics"], "/readyz")
        await proxy.restore()
        await platform.wait_until_ready(worker)

    assert unready[0] == 503
    assert all(word in unready[1] for word in ("relay", "stock consumer", "payment consumer"))


async def test_a_loop_that_cannot_go_on_ends_the_process_with_the_reason(platform: Platform) -> None:
    worker = await platform.start_worker()

    await platform.query("alter table order_service.outbox rename to gone")
    code = await ended(worker)

    (failed,) = worker.log_lines("process.failed")
    assert code == 1
    assert failed["error"].startswith("relay ended: ")
    assert 'relation "order_service.outbox" does not exist' in failed["exception.stacktrace"]


async def test_all_wrong_variables_are_told_at_once_and_no_secret_is(platform: Platform) -> None:
    process = platform.spawn(
        "worker",
        DATABASE_URL="mysql://ada:hunter2@db/orders",
        RABBITMQ_URL="amqp://ada:hunter3@",
        GRPC_PORT=":many",
        METRICS_PORT="70000",
        SAGA_STOCK_TIMEOUT="soon",
        SAGA_PAYMENT="perhaps",
        DEFAULT_CURRENCY="euro",
        LOG_LEVEL="loud",
    )

    code = await ended(process)

    told = process.log.read_text()
    named = {line.split(":")[0].strip() for line in told.splitlines()[1:]}
    assert code == 2
    assert named == {
        "DATABASE_URL",
        "RABBITMQ_URL",
        "GRPC_PORT",
        "METRICS_PORT",
        "SAGA_STOCK_TIMEOUT",
        "SAGA_PAYMENT",
        "DEFAULT_CURRENCY",
        "LOG_LEVEL",
    }
    assert not any(secret in told for secret in ("hunter2", "hunter3"))


@pytest.mark.parametrize(("variable", "name"), [("GRPC_PORT", "grpc"), ("METRICS_PORT", "metrics")])
async def test_a_port_that_is_taken_is_one_line_that_names_the_variable(
    platform: Platform, variable: str, name: str
) -> None:
    first = await platform.start_api()

    second = platform.spawn("api", **{variable: str(first.ports[name])})
    code = await ended(second)

    failures = [line for line in second.log_lines() if line["level"] in ("error", "critical")]
    assert code == 1
    assert [line["event"] for line in failures] == ["process.failed"]
    assert failures[0]["error"].startswith(f"{variable}: ")


@pytest.mark.parametrize("kind", ["api", "worker"])
async def test_without_the_schema_it_says_what_to_run(platform: Platform, kind: str) -> None:
    await platform.query("drop schema order_service cascade")

    process = platform.spawn(kind)
    code = await ended(process)

    (failed,) = process.log_lines("process.failed")
    assert code == 1
    assert "run 'order-service migrate'" in failed["error"]


async def test_processes_whose_log_nobody_reads_any_more_go_on_and_end_well(platform: Platform) -> None:
    readers: list[subprocess.Popen[bytes]] = []

    def launch_into_a_pipe(arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> Child:
        with log.open("wb") as read, log.with_suffix(".errors").open("wb") as errors:
            readers.append(subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=read))
            process = subprocess.Popen(
                [ORDER_SERVICE, *arguments], env=environment, stdout=readers[-1].stdin, stderr=errors
            )
        assert readers[-1].stdin is not None
        readers[-1].stdin.close()
        return process

    platform.launch = launch_into_a_pipe
    api, worker = await platform.start_both()
    for reader in readers:
        reader.kill()
        reader.wait()

    async with (
        StockService.running(platform, success),
        Recorder.running(platform) as recorder,
        gateway(api) as stub,
    ):
        for _ in range(20):
            await stub.CreateOrder(an_order())
        await eventually(lambda: len(recorder.sent().histories()) == 20 and recorder.sent().are_settled())

    assert [api.stop(), worker.stop()] == [0, 0]
    for process in (api, worker):
        said = process.log.with_suffix(".errors").read_text()
        assert said == "order-service: log lines are lost: [Errno 32] Broken pipe\n"


async def stopped(process: Running) -> tuple[int, float]:
    """SIGTERM: the exit code, and how long it took."""
    began = time.monotonic()
    code = await asyncio.to_thread(process.stop)
    return code, time.monotonic() - began


async def ended(process: Running) -> int:
    """The exit code of a process that ends by itself."""
    return await asyncio.to_thread(process.process.wait, 60)


async def is_serving(health: Any) -> bool:
    """Whether it says so: a moment after /readyz."""
    answer = await health.Check(health_pb2.HealthCheckRequest())
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def refuses_connections(api: Running) -> bool:
    """Whether nobody listens any more."""
    try:
        socket.create_connection(("127.0.0.1", api.ports["grpc"]), 1).close()
    except OSError:
        return True
    return False
