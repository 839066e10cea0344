"""The rows of the api: what a caller of gRPC gets, beside what gRPC and PostgreSQL can do at all."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import grpc

from order_service.pb import order_pb2, order_pb2_grpc
from tests.bench import pgbench
from tests.bench.api_processes import WARM_UP_SECONDS, Api, Load, Site, api, bare_server
from tests.bench.load.requests import write_requests
from tests.bench.measured import SECONDS, Figure, Pair, Row, Tell
from tests.bench.orders import batch_request, create_requests
from tests.bench.processes import serving
from tests.bench.stopwatch import Stopwatch, figure
from tests.integration.platform import Platform, Servers, http_get
from tests.waiting import eventually

_REQUESTS: Final = 5_000
_BATCH: Final = 100
_BATCHES_IN_FLIGHT: Final = 8
_STORED_ORDERS: Final = 10_000


@asynccontextmanager
async def create_order(servers: Servers, folder: Path, tell: Tell) -> AsyncIterator[Pair]:
    """One api beside one bare server, the same requests to either."""
    with Platform.make(servers, folder) as platform:
        load = Load("CreateOrder", _requests(folder))
        tell("starting an api and a bare server")
        async with api(platform) as under_test, bare_server(folder) as (bare_port, bare_pid):
            site = await Site.of(platform)
            yield Pair(
                limit=lambda: site.loaded_when_empty(load, bare_port, limit=bare_pid),
                service=lambda: site.creating(load, under_test.port, service=under_test.pid),
            )


@asynccontextmanager
async def get_order(servers: Servers, folder: Path, tell: Tell) -> AsyncIterator[Pair]:
    """One api with orders to read beside one bare server."""
    with Platform.make(servers, folder) as platform:
        async with api(platform) as under_test, bare_server(folder) as (bare_port, bare_pid):
            tell(f"storing {_STORED_ORDERS:,} orders to read")
            requests = [
                order_pb2.GetOrderRequest(order_id=order.id, user_id=order.user_id)
                for number in range(_STORED_ORDERS // _BATCH)
                for order in await _store(under_test, number)
            ]
            write_requests(folder / "requests", requests)
            load = Load("GetOrder", folder / "requests")
            site = await Site.of(platform)
            site.settle()
            yield Pair(
                limit=lambda: site.loaded(load, bare_port, limit=bare_pid),
                service=lambda: site.loaded(load, under_test.port, service=under_test.pid),
            )


@asynccontextmanager
async def batch_create_orders(servers: Servers, folder: Path, tell: Tell) -> AsyncIterator[Pair]:
    """One api beside pgbench, which inserts the rows that the api has stored for a batch."""
    with Platform.make(servers, folder) as platform:
        program = pgbench.find_pgbench(platform.database_url)
        file, script = folder / "requests", folder / "insert.sql"
        write_requests(file, [batch_request(number, _BATCH) for number in range(_REQUESTS // _BATCH)])
        load = Load("BatchCreateOrders", file, _BATCHES_IN_FLIGHT, channels=4, operations=_BATCH)
        async with api(platform) as under_test:
            site = await Site.of(platform)
            await _store(under_test, 0)
            rows = pgbench.write_script(platform.database_url, script)
            tell(f"one transaction of the limit inserts {rows} rows")
            yield Pair(
                limit=lambda: _insert(site, program, script),
                service=lambda: site.creating(load, under_test.port, service=under_test.pid),
            )


async def _insert(site: Site, program: Path, script: Path) -> Figure:
    """The limit of storing orders: pgbench, after it has warmed up."""
    database_url = site.platform.database_url
    site.empty()
    await pgbench.run_pgbench(program, database_url, script, _BATCHES_IN_FLIGHT, WARM_UP_SECONDS)
    site.empty()
    stopwatch = Stopwatch(site.watched)
    done = await pgbench.run_pgbench(program, database_url, script, _BATCHES_IN_FLIGHT, SECONDS.get())
    spent = stopwatch.read()["cpu_seconds"] | {"load": done.cpu_seconds}
    orders = done.transactions * _BATCH
    site.check_stored(orders)
    return figure(done.per_second * _BATCH, orders, spent)


@asynccontextmanager
async def telemetry(servers: Servers, folder: Path, tell: Tell) -> AsyncIterator[Pair]:
    """Two apis on one database: one tells nothing, the other what it tells in production."""
    with Platform.make(servers, folder) as platform:
        load = Load("CreateOrder", _requests(folder))
        tell("starting two apis and a collector")
        spans = folder / "collector.log"
        async with serving("the collector", "tests.bench.span_collector", spans) as (collector, collector_port):
            on = {
                "OTEL_EXPORTER_OTLP_ENDPOINT": f"127.0.0.1:{collector_port}",
                "OTEL_TRACES_SAMPLER_ARG": "0.1",
                "LOG_LEVEL": "info",
            }
            async with api(platform, LOG_LEVEL="error") as silent, api(platform, **on) as telling:
                site = await Site.of(platform)

                async def service() -> Figure:
                    before = _spans_collected(spans)
                    processes = {"service": telling.pid, "collector": collector.process.pid}
                    async with _scraped(telling):
                        measured = await site.creating(load, telling.port, **processes)
                    # They are sent once a second.
                    await eventually(lambda: _spans_collected(spans) > before)
                    return measured

                yield Pair(lambda: site.creating(load, silent.port, limit=silent.pid), service)


@asynccontextmanager
async def _scraped(running: Api) -> AsyncIterator[None]:
    """Its metrics are read once a second, which is more often than anybody does."""

    async def scrape() -> None:
        while True:
            await asyncio.to_thread(http_get, running.metrics_port, "/metrics")
            await asyncio.sleep(1)

    task = asyncio.create_task(scrape())
    try:
        yield
    finally:
        task.cancel()


def _spans_collected(log: Path) -> int:
    whole = log.read_text().rpartition("\n")[0]
    return int(json.loads(whole.splitlines()[-1]).get("spans", 0))


async def _store(under_test: Api, number: int) -> Sequence[order_pb2.Order]:
    """A batch of orders, as the api answers it."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{under_test.port}") as channel:
        stub = order_pb2_grpc.OrderServiceStub(channel)
        answer: order_pb2.BatchCreateOrdersResponse = await stub.BatchCreateOrders(batch_request(number, _BATCH))
    return [result.order for result in answer.results]


def _requests(folder: Path) -> Path:
    write_requests(folder / "requests", create_requests(_REQUESTS))
    return folder / "requests"


ROWS: Final[Sequence[Row]] = (
    Row(
        name="CreateOrder",
        unit="orders/s",
        service="CreateOrder, 64 in flight, 2 items, durable, one api process",
        limit="the same requests to a bare grpc.aio server that answers at once",
        opened=create_order,
        at_least=0.6,
    ),
    Row(
        name="GetOrder",
        unit="orders/s",
        service=f"GetOrder, 64 in flight, of {_STORED_ORDERS:,} orders, one api process",
        limit="the same requests to a bare grpc.aio server that answers at once",
        opened=get_order,
        at_least=0.6,
    ),
    Row(
        name="BatchCreateOrders",
        unit="orders/s",
        service=f"BatchCreateOrders, {_BATCH} an RPC, {_BATCHES_IN_FLIGHT} in flight, one api process",
        limit=f"pgbench, {_BATCHES_IN_FLIGHT} clients: multi-row inserts of the same rows, {_BATCH} orders each",
        opened=batch_create_orders,
        at_least=0.4,
    ),
    Row(
        name="telemetry",
        unit="orders/s",
        service="CreateOrder with 10% of the traces sent, logs at info, metrics scraped",
        limit="CreateOrder with no traces, logs at error, metrics not scraped",
        opened=telemetry,
        at_least=0.9,
    ),
)
