"""One order is one story: what the api, the database and the worker do for it is one trace, in a real collector."""

import asyncio
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.integration.calls import an_order, failure_of
from tests.integration.collector import Collector, Span
from tests.integration.held_back import held_back
from tests.integration.peers import Body, Recorder, StockService, success
from tests.integration.platform import Platform, gateway, http_status
from tests.integration.stopwatch import Stopwatch
from tests.integration.tcp_proxy import TcpProxy
from tests.waiting import eventually

CALLER = "b7ad6b7169203331"
RPC, COMMIT = "/order.OrderService/CreateOrder", "COMMIT orders"
SEND_CREATED, PROCESS, SEND_CONFIRMED = "send order.created", "process StockUpdateResult", "send order.confirmed"
WAITED_SECONDS = 1.5
"""A call that waits with the exporter takes longer: it waits 5 s for an answer, and 1.6 s or more before its third try.
"""


def sampled(trace_id: str) -> tuple[tuple[str, str], ...]:
    """The metadata of a caller whose trace is kept."""
    return (("traceparent", f"00-{trace_id}-{CALLER}-01"),)


async def test_an_order_is_one_connected_trace(platform: Platform) -> None:
    trace_id = uuid4().hex

    async with Collector.running() as collector:
        api, _ = await platform.start_both(OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoint)
        async with StockService.running(platform, success), Recorder.running(platform), gateway(api) as stub:
            order = (await stub.CreateOrder(an_order(), metadata=sampled(trace_id))).order
            await eventually(lambda: SEND_CONFIRMED in collector.of_trace(trace_id))
            await eventually(lambda: len(collector.of_trace(trace_id)) == 5)
            spans = collector.of_trace(trace_id)

    names = {span.span_id: name for name, span in spans.items()} | {CALLER: "the caller"}
    assert {name: (span.kind, names[span.parent_id]) for name, span in spans.items()} == {
        RPC: ("SERVER", "the caller"),
        COMMIT: ("CLIENT", RPC),
        SEND_CREATED: ("PRODUCER", RPC),
        PROCESS: ("CONSUMER", SEND_CREATED),
        SEND_CONFIRMED: ("PRODUCER", PROCESS),
    }
    assert not any(span.failed for span in spans.values())
    assert {span.resource["service.name"] for span in spans.values()} == {"service-order"}
    assert spans[COMMIT].attributes["db.system.name"] == "postgresql"
    assert spans[SEND_CREATED].attributes["messaging.destination.name"] == "order.events"
    handled = [line for line in api.log_lines("rpc.handled") if line["trace_id"] == trace_id]
    assert [(line["method"], line["span_id"]) for line in handled] == [(RPC, spans[RPC].span_id)]
    assert order.id


async def test_with_a_peer_that_passes_nothing_on_the_story_goes_on_where_the_order_was_created(
    platform: Platform,
) -> None:
    trace_id = uuid4().hex

    async with Collector.running() as collector:
        api, _ = await platform.start_both(OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoint)
        async with ForgetfulStockService.running(platform, success), gateway(api) as stub:
            await stub.CreateOrder(an_order(), metadata=sampled(trace_id))
            await eventually(lambda: SEND_CONFIRMED in collector.of_trace(trace_id))
            await eventually(lambda: len(collector.of_trace(trace_id)) == 4)
            spans = collector.of_trace(trace_id)

    assert spans[SEND_CONFIRMED].parent_id == spans[RPC].span_id
    assert PROCESS not in {span.name for span in collector.spans}


async def test_a_shared_transaction_is_linked_to_every_request_it_stores(platform: Platform) -> None:
    trace_ids = [uuid4().hex for _ in range(5)]

    async with Collector.running() as collector:
        api = await platform.start_api(OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoint, DATABASE_TIMEOUT="60s")
        async with gateway(api) as stub:
            async with held_back(platform) as waiting:
                calls = [asyncio.ensure_future(stub.CreateOrder(an_order(), metadata=sampled(trace_ids[0])))]
                await eventually(lambda: waiting(1))
                calls += [
                    asyncio.ensure_future(stub.CreateOrder(an_order(), metadata=sampled(trace_id)))
                    for trace_id in trace_ids[1:]
                ]
                await eventually(lambda: api.metric("grpc_server_started_total", grpc_method="CreateOrder") == 5)
            await asyncio.gather(*calls)
            commits = await eventually(lambda: commits_in(collector, 2))

    alone, shared = sorted(commits, key=lambda span: len(span.links))
    assert (alone.trace_id, alone.links) == (trace_ids[0], frozenset())
    assert shared.links | {shared.trace_id} == set(trace_ids[1:])


async def test_a_call_that_fails_is_a_span_that_fails(platform: Platform) -> None:
    trace_id = uuid4().hex

    async with Collector.running() as collector:
        api = await platform.start_api(OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoint)
        async with gateway(api) as stub:
            await platform.query("alter table order_service.order_items rename to gone")
            await failure_of(stub.CreateOrder(an_order(), metadata=sampled(trace_id)))
            await eventually(lambda: len(collector.of_trace(trace_id)) == 2)
            spans = collector.of_trace(trace_id)

    assert spans[RPC].failed
    assert spans[COMMIT].failed


async def test_a_trace_that_its_caller_does_not_keep_leaves_its_id_and_no_span(platform: Platform) -> None:
    trace_id = uuid4().hex

    async with Collector.running() as collector:
        api = await platform.start_api(OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoint)
        async with gateway(api) as stub:
            await stub.CreateOrder(an_order(), metadata=(("traceparent", f"00-{trace_id}-{CALLER}-00"),))
            await asyncio.to_thread(api.stop)
        ((stored,),) = await platform.query("select traceparent from order_service.outbox")

    (handled,) = api.log_lines("rpc.handled")
    assert handled["trace_id"] == trace_id
    assert stored == f"00-{trace_id}-{handled['span_id']}-00"
    assert handled["span_id"] != CALLER
    assert collector.spans == []


async def test_a_trace_that_begins_with_the_call_is_logged_under_the_id_it_is_kept_by(platform: Platform) -> None:
    async with Collector.running() as collector:
        api = await platform.start_api(OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoint, OTEL_TRACES_SAMPLER_ARG="0.5")
        async with gateway(api) as stub:
            for _ in range(40):
                await stub.CreateOrder(an_order())
            await asyncio.to_thread(api.stop)

    logged = [line["trace_id"] for line in api.log_lines("rpc.handled")]
    kept = {span.trace_id for span in collector.spans if span.name == RPC}
    assert len(set(logged)) == 40
    assert kept == {trace_id for trace_id in logged if int(trace_id[16:], 16) < 2**63}


async def test_health_checks_leave_no_spans(platform: Platform) -> None:
    async with Collector.running() as collector:
        api = await platform.start_api(OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoint)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{api.ports['grpc']}") as channel, gateway(api) as stub:
            health: Any = health_pb2_grpc.HealthStub(channel)
            await health.Check(health_pb2.HealthCheckRequest(), metadata=sampled(uuid4().hex))
            await stub.CreateOrder(an_order(), metadata=sampled(uuid4().hex))
            await asyncio.to_thread(api.stop)

    assert {span.name for span in collector.spans} == {RPC, COMMIT}


@pytest.mark.parametrize("how", ["away", "silent"])
async def test_a_collector_that_does_not_answer_slows_nothing(platform: Platform, how: str) -> None:
    async with Collector.running() as collector, TcpProxy.to(f"http://{collector.endpoint}") as (proxy, url):
        await proxy.cut() if how == "away" else proxy.freeze()
        api, worker = await platform.start_both(OTEL_EXPORTER_OTLP_ENDPOINT=url)
        async with (
            StockService.running(platform, success),
            Recorder.running(platform) as recorder,
            gateway(api) as stub,
        ):
            rounds = [await seconds_of_orders_at_once(stub, 10) for _ in range(30)]
            await eventually(lambda: len(recorder.messages) == 600)
            ready = [http_status(process.ports["metrics"], "/readyz") for process in (api, worker)]
            codes = await asyncio.gather(*[asyncio.to_thread(process.stop) for process in (api, worker)])

    assert max(rounds) < WAITED_SECONDS
    assert ready == [200, 200]
    assert codes == [0, 0]
    lines = [line for process in (api, worker) for line in process.log_lines() if line["level"] != "info"]
    warnings = [line["event"] for line in lines if not is_of_broken_broker(line)]
    assert set(warnings) <= {"traces.export_failing", "leases.ran_out"}
    assert warnings.count("traces.export_failing") <= 2


async def seconds_of_orders_at_once(stub: Any, count: int) -> float:
    """How long the slowest of so many calls takes whose traces are kept."""
    with Stopwatch.running() as watch:
        await asyncio.gather(*[stub.CreateOrder(an_order(), metadata=sampled(uuid4().hex)) for _ in range(count)])
        return watch.seconds()


def is_of_broken_broker(line: Mapping[str, Any]) -> bool:
    """Whether a log line is about a connection that RabbitMQ has ended by an internal error of its own, as it may while
    the queues of a new virtual host are declared over several at once."""
    told = str(line)
    return "reply_code=541" in told or "ConnectionInternalError" in told


class ForgetfulStockService(StockService):
    """Knows nothing of traces."""

    async def reply(self, answer: Body, **_: Any) -> None:
        await super().reply(answer)


def commits_in(collector: Collector, count: int) -> list[Span]:
    """The spans of transactions, once there are so many."""
    commits = [span for span in collector.spans if span.name == COMMIT]
    return commits if len(commits) == count else []
