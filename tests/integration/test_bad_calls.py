"""Calls that are wrong below the level of fields: answered in the contract's words, and no surprise in the log."""

import asyncio
import functools
import signal
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from order_service.api.acceptors import ACCEPTORS
from order_service.pb import order_pb2
from tests.fuzz import http2
from tests.integration.calls import an_item, an_order, failure_of
from tests.integration.conftest import Shared
from tests.integration.load import patient_gateway
from tests.integration.peers import StockService, success
from tests.integration.platform import Platform, Running, gateway, http_status
from tests.integration.process_table import listeners_at
from tests.waiting import eventually

NO_MESSAGE = b"\x0a\xff\xff"
EMPTY: Any = health_pb2.HealthCheckRequest()
REFLECT = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"


_USUAL_BUT_PATH = [
    (b":method", b"POST"),
    (b":scheme", b"http"),
    (b":path", b"/order.OrderService/\xff\xfe"),
    (b":authority", b"localhost"),
    (b"content-type", b"application/grpc"),
    (b"te", b"trailers"),
]


def channel(shared: Shared) -> Any:
    return grpc.aio.insecure_channel(f"127.0.0.1:{shared.api.ports['grpc']}")


async def test_a_reflection_request_that_is_no_message_is_bad_input(shared: Shared) -> None:
    async with channel(shared) as calls:
        call = calls.stream_stream(REFLECT)(iter([NO_MESSAGE]))
        failure = await failure_of(call.read())

    assert (failure.code, failure.info.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
    assert "DecodeError" not in failure.text
    assert [line for line in shared.api.log_lines() if line["level"] == "error"] == []


async def test_reflection_answers_one_request_after_another(shared: Shared) -> None:
    requests = [reflection_pb2.ServerReflectionRequest(list_services="*") for _ in range(3)]
    async with channel(shared) as calls:
        stub: Any = reflection_pb2_grpc.ServerReflectionStub(calls)
        answers = [answer async for answer in stub.ServerReflectionInfo(iter(requests))]

    listed = [{service.name for service in answer.list_services_response.service} for answer in answers]
    assert len(listed) == 3
    assert all("order.OrderService" in names for names in listed)


async def test_a_method_of_the_health_service_that_is_not_offered_is_unimplemented(shared: Shared) -> None:
    async with channel(shared) as calls:
        stub: Any = health_pb2_grpc.HealthStub(calls)
        failure = await failure_of(stub.List(EMPTY))

    assert (failure.code, failure.info) == (
        grpc.StatusCode.UNIMPLEMENTED,
        ErrorInfo(reason="UNIMPLEMENTED", domain="order-service"),
    )
    assert shared.api.log_lines("rpc.failed") == []


async def test_a_request_id_with_other_content_is_named_as_the_bad_field(shared: Shared, user: str) -> None:
    async with gateway(shared.api) as stub:
        await stub.CreateOrder(an_order(user, request_id="once"))
        failure = await failure_of(stub.CreateOrder(an_order(user, an_item(quantity=3), request_id="once")))

    assert failure.info.reason == "REQUEST_ID_REUSED"
    assert failure.violations.keys() == {"request_id"}


async def test_watchers_who_go_away_are_no_errors(platform: Platform) -> None:
    api = await platform.start_api()
    async with gateway(api) as stub:
        order_id = (await stub.CreateOrder(an_order())).order.id
        watch = order_pb2.WatchOrderRequest(order_id=order_id, user_id="ada")
        for _ in range(20):
            call = stub.WatchOrder(watch)
            await call.read()
            call.cancel()
        await eventually(lambda: len(handled(api.log_lines("rpc.handled"))) == 20)

    api.stop()
    assert [line for line in api.log_lines() if line["level"] in ("error", "critical")] == []


def handled(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The watches that have ended."""
    return [line for line in lines if line["method"].endswith("/WatchOrder")]


async def test_a_path_that_is_no_text_ends_no_call_and_the_server_goes_on(platform: Platform) -> None:
    # The calls that are under way when gRPC's server ends have as long to end themselves.
    api, worker = await platform.start_both(SHUTDOWN_GRACE="60s")
    port = http2.Port(api.ports["grpc"])
    async with StockService.running(platform, success), patient_gateway(port.number) as stub:
        order_id = (await stub.CreateOrder(an_order(user="bob", request_id="first"), timeout=60)).order.id
        worker.process.send_signal(signal.SIGSTOP)
        watched = (await stub.CreateOrder(an_order(), timeout=60)).order.id
        watch = stub.WatchOrder(order_pb2.WatchOrderRequest(order_id=watched, user_id="ada", until_settled=True))
        first = await watch.read()

        for attack in range(1, 13):
            await asyncio.to_thread(port.exchange, http2.call(_USUAL_BUT_PATH, http2.message(b"")))
            await eventually(functools.partial(has_ended_its_server, platform, api, attack))
            again = await stub.CreateOrder(an_order(user="bob", request_id="first"), timeout=60, wait_for_ready=True)
            assert again.order.id == order_id
        worker.process.send_signal(signal.SIGCONT)
        last = await watch.read()

    assert (first.order.status, last.order.status) == (order_pb2.PENDING, order_pb2.CONFIRMED)
    assert http_status(api.ports["metrics"], "/readyz") == 200
    assert listeners_at(port.number, api.process.pid) == ACCEPTORS
    assert api.stop() == 0


def has_ended_its_server(platform: Platform, api: Running, times: int) -> bool:
    """Whether gRPC has ended it so often; fails if the process has ended with it."""
    platform.find_ports(api)
    return len(api.log_lines("api.server_ended")) == times


@pytest.mark.parametrize("stream", [False, True])
async def test_bytes_that_are_no_message_are_bad_input(shared: Shared, stream: bool) -> None:
    async with channel(shared) as calls:
        if stream:
            failure = await failure_of(calls.unary_stream("/order.OrderService/WatchOrder")(NO_MESSAGE).read())
        else:
            failure = await failure_of(calls.unary_unary("/order.OrderService/GetOrder")(NO_MESSAGE))

    assert (failure.code, failure.info.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
