"""The contract's table of errors, row by row, through a real channel. Invalid requests have a file of their own."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import grpc
import pytest

from order_service.pb import order_pb2
from tests.integration.calls import Failure, all_of, an_item, an_order, failure_of
from tests.integration.conftest import Shared
from tests.integration.held_back import held_back
from tests.integration.peers import Recorder
from tests.integration.platform import Platform, gateway, http_status
from tests.integration.tcp_proxy import TcpProxy
from tests.waiting import eventually

GREATEST_PAGE = 1_000


def of_order(stub: Any, order_id: str, user: str) -> dict[str, Callable[[], Awaitable[Any]]]:
    """Every RPC that is about one order of one user."""
    which: dict[str, Any] = {"order_id": order_id, "user_id": user}
    return {
        "GetOrder": lambda: stub.GetOrder(order_pb2.GetOrderRequest(**which)),
        "CancelOrder": lambda: stub.CancelOrder(order_pb2.CancelOrderRequest(**which)),
        "WatchOrder": lambda: all_of(stub.WatchOrder(order_pb2.WatchOrderRequest(**which))),
        "ListOrderEvents": lambda: stub.ListOrderEvents(order_pb2.ListOrderEventsRequest(**which)),
        "ExplainOrder": lambda: stub.ExplainOrder(order_pb2.ExplainOrderRequest(**which)),
    }


async def test_a_page_above_the_limit_is_lowered_to_it(shared: Shared, user: str) -> None:
    async with gateway(shared.api) as stub:
        for count in (GREATEST_PAGE, 2):
            await stub.BatchCreateOrders(order_pb2.BatchCreateOrdersRequest(requests=[an_order(user)] * count))
        page = await stub.ListOrders(order_pb2.ListOrdersRequest(user_id=user, page_size=5_000))
        rest = await stub.ListOrders(
            order_pb2.ListOrdersRequest(user_id=user, page_size=5_000, page_token=page.next_page_token)
        )

    assert len(page.orders) == GREATEST_PAGE
    assert (len(rest.orders), rest.next_page_token) == (2, "")


@pytest.mark.parametrize("rpc", of_order(None, "", "").keys())
async def test_anothers_order_looks_exactly_like_an_unknown_one(shared: Shared, user: str, rpc: str) -> None:
    async with gateway(shared.api) as stub:
        order = (await stub.CreateOrder(an_order(user))).order
        of_another = await failure_of(of_order(stub, order.id, f"{user}2")[rpc]())
        of_nobody = await failure_of(of_order(stub, str(uuid4()), f"{user}2")[rpc]())

    assert of_another == of_nobody
    assert of_another.code is grpc.StatusCode.NOT_FOUND
    assert of_another.info.reason == "ORDER_NOT_FOUND"


async def test_an_illegal_transition_names_the_status_and_those_it_may_go_to(shared: Shared, user: str) -> None:
    async with gateway(shared.api) as stub:
        order = (await stub.CreateOrder(an_order(user))).order
        await set_status(shared.platform, order.id, "DELIVERED")
        failure = await failure_of(stub.CancelOrder(order_pb2.CancelOrderRequest(order_id=order.id, staff_id="bob")))
        after = (await stub.GetOrder(order_pb2.GetOrderRequest(order_id=order.id, user_id=user))).order

    assert failure.code is grpc.StatusCode.FAILED_PRECONDITION
    assert failure.info.reason == "ILLEGAL_TRANSITION"
    assert dict(failure.info.metadata) == {"status": "DELIVERED", "allowed": ""}
    assert "DELIVERED" in failure.text
    assert after.status == order_pb2.DELIVERED


async def test_an_owner_may_not_do_what_only_staff_may(shared: Shared, user: str) -> None:
    async with gateway(shared.api) as stub:
        order = (await stub.CreateOrder(an_order(user))).order
        await set_status(shared.platform, order.id, "IN_PROGRESS")
        failure = await failure_of(stub.CancelOrder(order_pb2.CancelOrderRequest(order_id=order.id, user_id=user)))
        by_staff = await stub.CancelOrder(order_pb2.CancelOrderRequest(order_id=order.id, staff_id="bob"))

    assert failure.code is grpc.StatusCode.FAILED_PRECONDITION
    assert failure.info.metadata["status"] == "IN_PROGRESS"
    assert by_staff.order.status == order_pb2.CANCELLED


async def test_an_etag_that_does_not_match_aborts(shared: Shared, user: str) -> None:
    async with gateway(shared.api) as stub:
        order = (await stub.CreateOrder(an_order(user))).order
        request = order_pb2.CancelOrderRequest(order_id=order.id, user_id=user, etag='"7"')
        failure = await failure_of(stub.CancelOrder(request))
        request.etag = order.etag
        cancelled = (await stub.CancelOrder(request)).order

    assert (failure.code, failure.info.reason) == (grpc.StatusCode.ABORTED, "ETAG_MISMATCH")
    assert cancelled.status == order_pb2.CANCELLED
    assert cancelled.etag != order.etag


async def test_a_request_id_with_other_content_is_refused(shared: Shared, user: str) -> None:
    async with gateway(shared.api) as stub:
        await stub.CreateOrder(an_order(user, request_id="once"))
        failure = await failure_of(stub.CreateOrder(an_order(user, an_item(quantity=3), request_id="once")))
        of_another_user = await stub.CreateOrder(an_order(f"{user}2", an_item(quantity=3), request_id="once"))

    assert (failure.code, failure.info.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_ID_REUSED")
    assert of_another_user.order.items[0].quantity == 3


async def test_a_repeat_gets_the_first_answer_whatever_has_become_of_the_order(shared: Shared, user: str) -> None:
    request = an_order(user, an_item("tea"), an_item("cup"), request_id="once")
    same = an_order(user, an_item("cup"), an_item("tea"), request_id="once")

    async with gateway(shared.api) as stub:
        first = await stub.CreateOrder(request)
        await stub.CancelOrder(order_pb2.CancelOrderRequest(order_id=first.order.id, user_id=user))
        again = await stub.CreateOrder(same)
        listed = await stub.ListOrders(order_pb2.ListOrdersRequest(user_id=user))

    assert again == first
    assert [order.id for order in listed.orders] == [first.order.id]


async def test_repeats_at_the_same_time_make_one_order(shared: Shared, user: str) -> None:
    request = an_order(user, request_id="once")

    async with gateway(shared.api) as stub, gateway(shared.api) as other:
        answers = await asyncio.gather(*[one.CreateOrder(request) for one in (stub, other) * 20])
        listed = await stub.ListOrders(order_pb2.ListOrdersRequest(user_id=user))

    assert {answer.order.id for answer in answers} == {order.id for order in listed.orders}
    assert len(listed.orders) == 1


async def test_a_repeat_waits_for_the_first_that_still_runs_in_another_process(shared: Shared, user: str) -> None:
    request = an_order(user, request_id="once")
    second_api = await shared.platform.start_api()

    async with gateway(shared.api) as stub, gateway(second_api) as other:
        async with held_back(shared.platform) as waiting:
            first = asyncio.ensure_future(stub.CreateOrder(request))
            await eventually(lambda: waiting(1))
            repeat = asyncio.ensure_future(other.CreateOrder(request))
            await eventually(lambda: waiting(2))
            assert not first.done()
            assert not repeat.done()
        answers = [await first, await repeat]
        listed = await stub.ListOrders(order_pb2.ListOrdersRequest(user_id=user))

    assert answers[0] == answers[1]
    assert [order.id for order in listed.orders] == [answers[0].order.id]


async def test_without_postgresql_every_rpc_is_unavailable_and_works_again_after(platform: Platform) -> None:
    async with TcpProxy.to(platform.database_url) as (proxy, url):
        api = await platform.start_api(DATABASE_URL=url, DATABASE_TIMEOUT="3s")
        async with gateway(api) as stub:
            order = (await stub.CreateOrder(an_order())).order
            await proxy.cut()
            failures = await asyncio.gather(*[failure_of(call()) for call in every_rpc(stub, order.id)])
            await eventually(lambda: http_status(api.ports["metrics"], "/readyz") == 503)
            await proxy.restore()
            answers = [await eventually(lambda call=call: answered(call)) for call in every_rpc(stub, order.id)]  # type: ignore[misc]
        await eventually(lambda: http_status(api.ports["metrics"], "/readyz") == 200)

    assert {(failure.code, failure.info.reason) for failure in failures} == {
        (grpc.StatusCode.UNAVAILABLE, "SERVICE_UNAVAILABLE")
    }
    assert all(failure.retry_seconds > 0 for failure in failures)
    assert len(answers) == 7


async def test_with_postgresql_frozen_a_call_without_deadline_ends(platform: Platform) -> None:
    async with TcpProxy.to(platform.database_url) as (proxy, url):
        api = await platform.start_api(DATABASE_URL=url, DATABASE_TIMEOUT="3s")
        async with gateway(api) as stub:
            order = (await stub.CreateOrder(an_order())).order
            async with held_back(platform) as waiting:
                under_way = asyncio.ensure_future(failure_of(stub.CreateOrder(an_order())))
                await eventually(lambda: waiting(1))
                proxy.freeze()
            async with asyncio.timeout(60):
                failures = await asyncio.gather(*[failure_of(call()) for call in every_rpc(stub, order.id)])
                failures.append(await under_way)
            proxy.thaw()
            await eventually(lambda: answered(every_rpc(stub, order.id)[0]))

    assert {failure.code for failure in failures} == {grpc.StatusCode.UNAVAILABLE}


async def test_a_pool_that_is_exhausted_is_unavailable_at_once(platform: Platform) -> None:
    api = await platform.start_api(DATABASE_POOL_SIZE="1", DATABASE_TIMEOUT="60s")
    question = order_pb2.ListOrdersRequest(user_id="ada")

    async with gateway(api) as stub:
        async with held_back(platform) as waiting:
            write = asyncio.ensure_future(stub.CreateOrder(an_order()))
            await eventually(lambda: waiting(1))
            reads = [asyncio.ensure_future(answer_or_failure(stub.ListOrders(question))) for _ in range(150)]
            await asyncio.wait(reads, return_when=asyncio.FIRST_COMPLETED)
        created = (await write).order
        failures = [answer for answer in await asyncio.gather(*reads) if isinstance(answer, Failure)]
        after = await stub.ListOrders(question)

    # One hundred may wait for each connection of the pool; one of them may be the look whether PostgreSQL is there.
    assert 0 < len(failures) <= 51
    assert {(failure.code, failure.info.reason) for failure in failures} == {
        (grpc.StatusCode.UNAVAILABLE, "SERVICE_UNAVAILABLE")
    }
    assert all(failure.retry_seconds > 0 for failure in failures)
    assert [order.id for order in after.orders] == [created.id]


async def test_without_rabbitmq_orders_are_accepted_and_their_events_go_out_later(platform: Platform) -> None:
    async with TcpProxy.to(platform.rabbitmq_url) as (proxy, url):
        api, worker = await platform.start_both(RABBITMQ_URL=url)
        async with Recorder.running(platform) as recorder, gateway(api) as stub:
            await proxy.cut()
            await eventually(lambda: http_status(worker.ports["metrics"], "/readyz") == 503)
            created = [(await stub.CreateOrder(an_order())).order.id for _ in range(20)]
            recorded_meanwhile = len(recorder.messages)
            api_is_ready = http_status(api.ports["metrics"], "/readyz") == 200
            await proxy.restore()
            await eventually(lambda: len(recorder.messages) >= len(created))
            attempts = await platform.query("select coalesce(max(attempts), 0) from order_service.outbox")

    assert recorded_meanwhile == 0
    assert api_is_ready
    assert sorted(json.loads(message.body)["order_id"] for message in recorder.messages) == sorted(created)
    assert attempts == [(0,)]


async def test_the_unforeseen_is_told_to_the_log_and_never_to_the_caller(platform: Platform) -> None:
    api = await platform.start_api()
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    metadata = (("traceparent", f"00-{trace_id}-b7ad6b7169203331-01"),)

    async with gateway(api) as stub:
        order = (await stub.CreateOrder(an_order())).order
        await platform.query("alter table order_service.order_items rename to gone")
        write = await failure_of(stub.CreateOrder(an_order(), metadata=metadata))
        read = await failure_of(
            stub.GetOrder(order_pb2.GetOrderRequest(order_id=order.id, user_id="ada"), metadata=metadata)
        )
        await platform.query("alter table order_service.gone rename to order_items")
        mended = (await stub.CreateOrder(an_order())).order

    for failure in (write, read):
        assert (failure.code, failure.text) == (grpc.StatusCode.INTERNAL, "internal error")
        assert failure.info.reason == "INTERNAL"
        assert failure.info.domain == "order-service"
        assert not any(word in failure.raw for word in (b"order_items", b"relation", b"psycopg", b"Traceback"))
    causes = api.log_lines("rpc.failed")
    assert [line["trace_id"] for line in causes] == [trace_id, trace_id]
    assert all('relation "order_service.order_items" does not exist' in line["exception.stacktrace"] for line in causes)
    assert mended.status == order_pb2.PENDING


async def test_a_message_that_is_too_large_is_refused_and_the_next_is_served(shared: Shared, user: str) -> None:
    async with gateway(shared.api) as stub:
        failure = await failure_of(stub.CreateOrder(an_order("x" * 5_000_000)))
        served = await stub.CreateOrder(an_order(user))

    assert failure.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert served.order.user_id == user


@pytest.mark.parametrize("rpc", ["CreateOrder", "WatchOrder"])
async def test_bytes_that_are_no_message_are_an_invalid_argument(shared: Shared, rpc: str) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{shared.api.ports['grpc']}") as channel:
        path = f"/order.OrderService/{rpc}"
        call: Any = channel.unary_stream(path) if rpc == "WatchOrder" else channel.unary_unary(path)
        answer = call(b"\xff\xff\xff")
        failure = await failure_of(all_of(answer) if rpc == "WatchOrder" else answer)

    assert failure.code is grpc.StatusCode.INVALID_ARGUMENT
    assert failure.info.domain == "order-service"


async def test_a_callers_deadline_does_not_stop_what_is_being_committed(shared: Shared, user: str) -> None:
    request = an_order(user, request_id="once")

    async with gateway(shared.api) as stub:
        async with held_back(shared.platform) as waiting:
            call = asyncio.ensure_future(failure_of(stub.CreateOrder(request, timeout=3)))
            await eventually(lambda: waiting(1))
            failure = await call
        stored = await eventually(lambda: parts_of(shared.platform, user))
        repeat = (await stub.CreateOrder(request)).order

    assert failure.code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert stored == [(1, 1, 1)]
    assert await parts_of(shared.platform, user) == [(1, 1, 1)]
    assert repeat.user_id == user


def every_rpc(stub: Any, order_id: str) -> list[Callable[[], Awaitable[Any]]]:
    """One call of each RPC that fails as a whole; WatchOrder comes last, when the order is cancelled."""
    about_one = of_order(stub, order_id, "ada")
    return [
        about_one["GetOrder"],
        about_one["ListOrderEvents"],
        about_one["ExplainOrder"],
        lambda: stub.ListOrders(order_pb2.ListOrdersRequest(user_id="ada")),
        lambda: stub.CreateOrder(an_order()),
        about_one["CancelOrder"],
        about_one["WatchOrder"],
    ]


async def answered(call: Callable[[], Awaitable[Any]]) -> Any:
    """What a call answers, or None while it fails."""
    try:
        return await call()
    except grpc.aio.AioRpcError:
        return None


async def answer_or_failure(call: Awaitable[Any]) -> Any:
    """What a call answers, or how it fails."""
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        return await failure_of(_raising(error))


async def _raising(error: Exception) -> None:
    raise error


async def parts_of(platform: Platform, user: str) -> list[tuple[Any, ...]]:
    """How many items, sagas and events each order of a user has."""
    return await platform.query(
        "select (select count(*) from order_service.order_items i where i.order_id = o.order_id),"
        " (select count(*) from order_service.sagas s where s.order_id = o.order_id),"
        " (select count(*) from order_service.order_events e where e.order_id = o.order_id)"
        " from order_service.orders o where o.user_id = %s",
        user,
    )


async def set_status(platform: Platform, order_id: str, status: str) -> None:
    """Brings an order into a status for which there is no RPC."""
    await platform.query("update order_service.orders set status = %s where order_id = %s", status, order_id)
