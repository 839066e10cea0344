"""What load balancers and people with grpcurl ask: gRPC health, server reflection, /healthz and /readyz."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from order_service.lifecycle import DEAD_SECONDS
from order_service.private_servers.ports import reserved_ports
from tests.integration.conftest import Shared
from tests.integration.platform import Platform, Running, http_get, http_status
from tests.integration.tcp_proxy import TcpProxy
from tests.waiting import eventually

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICES = ["", "order.OrderService"]


async def test_a_healthy_server_is_serving(shared: Shared) -> None:
    async with health_of(shared.api) as health:
        await eventually(lambda: all_are(health, SERVING))


async def test_an_unknown_service_has_no_health(shared: Shared) -> None:
    async with health_of(shared.api) as health:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await health("order.Unknown")

    assert raised.value.code() is grpc.StatusCode.NOT_FOUND


async def test_without_postgresql_nothing_is_serving_until_it_is_back(platform: Platform) -> None:
    async with TcpProxy.to(platform.database_url) as (proxy, url):
        api, worker = await platform.start_both(DATABASE_URL=url, DATABASE_TIMEOUT="1s")
        async with health_of(api) as health:
            await proxy.cut()
            await eventually(lambda: all_are(health, NOT_SERVING))
            await eventually(lambda: {http_status(one.ports["metrics"], "/readyz") for one in (api, worker)} == {503})
            told = http_get(api.ports["metrics"], "/readyz")[1]
            alive = [http_status(process.ports["metrics"], "/healthz") for process in (api, worker)]
            await proxy.restore()
            await eventually(lambda: all_are(health, SERVING))

    assert "postgresql" in told
    assert alive == [200, 200]


async def test_a_process_that_waits_for_postgresql_is_alive_all_the_while(platform: Platform) -> None:
    with reserved_ports(1) as (nobody,):
        api = platform.spawn("api", DATABASE_URL=f"postgresql://order_service:nobody@127.0.0.1:{nobody}/orders")
        await eventually(lambda: "metrics" in platform.find_ports(api))
        began = time.monotonic()
        await eventually(lambda: time.monotonic() - began > DEAD_SECONDS + 2)
        alive, ready = (http_status(api.ports["metrics"], path) for path in ("/healthz", "/readyz"))

    assert (alive, ready) == (200, 503)


async def test_a_server_that_stops_says_so_to_those_who_watch_its_health_and_does_not_wait_for_them(
    platform: Platform,
) -> None:
    api = await platform.start_api()

    async with grpc.aio.insecure_channel(f"127.0.0.1:{api.ports['grpc']}") as channel, health_of(api) as health:
        await eventually(lambda: all_are(health, SERVING))
        stub: Any = health_pb2_grpc.HealthStub(channel)
        watch = stub.Watch(health_pb2.HealthCheckRequest(service=SERVICES[1]))
        before = (await watch.read()).status
        exiting = asyncio.ensure_future(asyncio.to_thread(api.stop))
        after = (await watch.read()).status
        # It would wait for calls for SHUTDOWN_GRACE, which is 20 s.
        exit_code = await asyncio.wait_for(exiting, 15)

    assert (before, after) == (SERVING, NOT_SERVING)
    assert exit_code == 0


async def test_reflection_tells_the_services_and_their_methods(shared: Shared) -> None:
    methods = await asyncio.to_thread(reflected_methods, shared.api)

    assert {"CreateOrder", "WatchOrder", "ExplainOrder"} <= methods


async def test_reflection_can_be_switched_off(platform: Platform) -> None:
    api = await platform.start_api(GRPC_REFLECTION="off")

    with pytest.raises(grpc.RpcError) as raised:
        await asyncio.to_thread(reflected_methods, api)

    assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED


def reflected_methods(api: Running) -> set[str]:
    """The methods of the service, as a client without its proto finds them."""
    with grpc.insecure_channel(f"127.0.0.1:{api.ports['grpc']}") as channel:
        database: Any = ProtoReflectionDescriptorDatabase(channel)
        assert "order.OrderService" in database.get_services()
        file = database.FindFileContainingSymbol("order.OrderService")
        return {method.name for service in file.service for method in service.method}


@asynccontextmanager
async def health_of(api: Running) -> AsyncIterator[Any]:
    """Asks for the health of a service of this server."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{api.ports['grpc']}") as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)

        async def health(service: str) -> int:
            answer = await stub.Check(health_pb2.HealthCheckRequest(service=service))
            return int(answer.status)

        yield health


async def all_are(health: Any, status: int) -> bool:
    """Whether all services have a status."""
    return {await health(service) for service in SERVICES} == {status}
