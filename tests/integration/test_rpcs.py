"""What each RPC does when all is well: listing, batches, cancelling, watching, the history."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import grpc

from order_service.api.checks import MAX_ID_LENGTH
from order_service.domain.order import MAX_ITEMS
from order_service.pb import order_pb2
from tests.integration.calls import all_of, an_item, an_order, failure_in, failure_of, failures_in
from tests.integration.conftest import Shared
from tests.integration.peers import Recorder, StockService, no_answer, refusal, success
from tests.integration.platform import Platform, gateway
from tests.waiting import eventually


async def test_a_page_is_newest_first_and_of_one_user(shared: Shared, user: str) -> None:
    async with gateway(shared.api) as stub:
        created = [(await stub.CreateOrder(an_order(user, an_item(f"p{place}")))).order for place in range(5)]
        await stub.CreateOrder(an_order(f"{user}2"))
        page = await stub.ListOrders(order_pb2.ListOrdersRequest(user_id=user))

    assert list(page.orders) == created[::-1]
    assert page.next_page_token == ""


async def test_a_page_has_only_the_statuses_asked_for(shared: Shared, user: str) -> None:
    async with gateway(shared.api) as stub:
        created = [(await stub.CreateOrder(an_order(user))).order.id for _ in range(4)]
        await stub.CancelOrder(order_pb2.CancelOrderRequest(order_id=created[1], user_id=user))
        listed = {
            statuses: await stub.ListOrders(order_pb2.ListOrdersRequest(user_id=user, statuses=statuses))
            for statuses in ((order_pb2.CANCELLED,), (order_pb2.PENDING, order_pb2.CANCELLED), (order_pb2.DELIVERED,))
        }

    ids = [[order.id for order in page.orders] for page in listed.values()]
    assert ids == [[created[1]], created[::-1], []]


async def test_pages_have_no_gaps_and_no_repeats_while_orders_are_added(shared: Shared, user: str) -> None:
    seen: list[str] = []

    async with gateway(shared.api) as stub:
        before = [(await stub.CreateOrder(an_order(user))).order.id for _ in range(23)]
        request = order_pb2.ListOrdersRequest(user_id=user, page_size=5)
        sizes: list[int] = []
        while not sizes or request.page_token:
            page = await stub.ListOrders(request)
            seen.extend(order.id for order in page.orders)
            sizes.append(len(page.orders))
            await stub.CreateOrder(an_order(user))
            request.page_token = page.next_page_token

    assert seen == before[::-1]
    assert sizes == [5, 5, 5, 5, 3]


async def test_a_page_of_the_largest_orders_is_one_that_any_client_takes(shared: Shared, user: str) -> None:
    items = [an_item(f"{place:03}{'🍵' * (MAX_ID_LENGTH - 3)}") for place in range(MAX_ITEMS)]
    request = order_pb2.ListOrdersRequest(user_id=user)
    pages: list[list[str]] = []

    async with gateway(shared.api) as stub:
        created = [(await stub.CreateOrder(an_order(user, *items))).order.id for _ in range(7)]
        while not pages or request.page_token:
            page = await stub.ListOrders(request)
            pages.append([order.id for order in page.orders])
            request.page_token = page.next_page_token

    assert pages == [created[6:3:-1], created[3:0:-1], created[:1]]


async def test_a_dash_lists_the_orders_of_all_users(platform: Platform) -> None:
    api = await platform.start_api()

    async with gateway(api) as stub:
        created = [(await stub.CreateOrder(an_order(user))).order.id for user in ("ada", "bob", "ada", "eve")]
        request = order_pb2.ListOrdersRequest(user_id="-", page_size=3)
        first = await stub.ListOrders(request)
        request.page_token = first.next_page_token
        second = await stub.ListOrders(request)

    assert [order.id for order in (*first.orders, *second.orders)] == created[::-1]
    assert [order.user_id for order in first.orders] == ["eve", "ada", "bob"]
    assert second.next_page_token == ""


async def test_a_batch_has_a_result_or_an_error_for_each_in_their_order(shared: Shared, user: str) -> None:
    bad = {0: an_order(""), 500: an_order(user, an_item(quantity=0)), 999: an_order(user, an_item(price=0.001))}
    asked = [bad.get(place, an_order(user, an_item(f"p{place:03}"))) for place in range(1_000)]

    async with gateway(shared.api) as stub:
        batch = await stub.BatchCreateOrders(order_pb2.BatchCreateOrdersRequest(requests=asked))
        stored = await stub.ListOrders(order_pb2.ListOrdersRequest(user_id=user, page_size=1_000))

    failures = failures_in(batch)
    assert {place: (failure.code, *failure.violations) for place, failure in failures.items()} == {
        0: (grpc.StatusCode.INVALID_ARGUMENT, "user_id"),
        500: (grpc.StatusCode.INVALID_ARGUMENT, "items[0].quantity"),
        999: (grpc.StatusCode.INVALID_ARGUMENT, "items[0].price"),
    }
    products = [one.order.items[0].product_id for one in batch.results if one.WhichOneof("result") == "order"]
    assert products == [f"p{place:03}" for place in range(1_000) if place not in bad]
    assert {order.id for order in stored.orders} == {one.order.id for one in batch.results if one.order.id}


async def test_in_a_batch_a_request_id_makes_one_order(shared: Shared, user: str) -> None:
    asked = [
        an_order(user, request_id="one"),
        an_order(user, request_id="one"),
        an_order(user, an_item(quantity=9), request_id="one"),
        an_order(user),
    ]

    async with gateway(shared.api) as stub:
        batch = await stub.BatchCreateOrders(order_pb2.BatchCreateOrdersRequest(requests=asked))

    first, again, reused, other = batch.results
    assert first.order == again.order
    assert failure_in(reused.error).info.reason == "REQUEST_ID_REUSED"
    assert other.order.id != first.order.id


async def test_what_the_database_refuses_or_is_too_slow_for_fails_alone(platform: Platform) -> None:
    """What is refused fails by itself; what times out fails with its transaction, and with no other."""
    api = await platform.start_api(GROUP_COMMIT_SIZE="10", DATABASE_TIMEOUT="3s")
    await platform.query(
        "create function order_service.stumble() returns trigger language plpgsql as $$ begin"
        " if new.product_id = 'refused' then raise exception 'no such thing'; end if;"
        " if new.product_id = 'slow' then perform pg_sleep(60); end if; return new; end $$"
    )
    await platform.query(
        "create trigger stumble before insert on order_service.order_items"
        " for each row execute function order_service.stumble()"
    )
    products = {5: "refused", 25: "slow"}
    asked = [an_order("ada", an_item(products.get(place, "tea"))) for place in range(40)]

    async with gateway(api) as stub:
        batch = await stub.BatchCreateOrders(order_pb2.BatchCreateOrdersRequest(requests=asked))
        stored = await stub.ListOrders(order_pb2.ListOrdersRequest(user_id="ada"))

    failures = {place: failure.code for place, failure in failures_in(batch).items()}
    assert failures.pop(5) is grpc.StatusCode.INTERNAL
    assert 25 in failures
    assert set(failures.values()) == {grpc.StatusCode.UNAVAILABLE}
    assert len(failures) <= 10
    assert {order.id for order in stored.orders} == {one.order.id for one in batch.results if one.order.id}


async def test_owner_and_staff_cancel_and_a_second_time_changes_nothing(shared: Shared, user: str) -> None:
    async with gateway(shared.api) as stub:
        ids = [(await stub.CreateOrder(an_order(user))).order.id for _ in range(2)]
        by_owner = order_pb2.CancelOrderRequest(order_id=ids[0], user_id=user, reason="changed my mind")
        by_staff = order_pb2.CancelOrderRequest(order_id=ids[1], staff_id="bob", reason="fraud")
        cancelled = [(await stub.CancelOrder(request)).order for request in (by_owner, by_staff)]
        again = [
            (await stub.CancelOrder(order_pb2.CancelOrderRequest(order_id=order_id, staff_id="eve"))).order
            for order_id in ids
        ]
        events = await stub.ListOrderEvents(order_pb2.ListOrderEventsRequest(order_id=ids[0], user_id=user))

    assert [(order.status, order.status_reason.code, order.status_reason.message) for order in cancelled] == [
        (order_pb2.CANCELLED, "CANCELLED_BY_OWNER", "changed my mind"),
        (order_pb2.CANCELLED, "CANCELLED_BY_STAFF", "fraud"),
    ]
    assert again == cancelled
    assert [event.type for event in events.events] == ["order.created", "order.cancelled"]


async def test_cancelling_at_the_same_time_cancels_once(shared: Shared, user: str) -> None:
    async with gateway(shared.api) as stub:
        order = (await stub.CreateOrder(an_order(user))).order
        request = order_pb2.CancelOrderRequest(order_id=order.id, user_id=user)
        answers = await asyncio.gather(*[stub.CancelOrder(request) for _ in range(10)])
        events = await stub.ListOrderEvents(order_pb2.ListOrderEventsRequest(order_id=order.id, user_id=user))

    assert {answer.order.etag for answer in answers} == {'"2"'}
    assert [event.version for event in events.events] == [1, 2]


async def test_cancelling_a_confirmed_order_releases_its_stock(shared: Shared, user: str) -> None:
    async with StockService.running(shared.platform, success) as stock, gateway(shared.api) as stub:
        order = (await stub.CreateOrder(an_order(user, an_item("tea"), an_item("cup")))).order
        await settled(stub, order.id, user)
        await stub.CancelOrder(order_pb2.CancelOrderRequest(order_id=order.id, user_id=user))
        releases = await eventually(lambda: stock.undone_of(order.id))

    assert [item["product_id"] for item in releases[0]["items"]] == ["cup", "tea"]
    assert [release["version"] for release in releases] == [4]


async def test_a_success_after_the_cancellation_releases_the_stock(shared: Shared, user: str) -> None:
    async with StockService.running(shared.platform, no_answer) as stock, gateway(shared.api) as stub:
        order = (await stub.CreateOrder(an_order(user))).order
        await stub.CancelOrder(order_pb2.CancelOrderRequest(order_id=order.id, user_id=user))
        await stock.reply({"order_id": order.id, "success": True})
        releases = await eventually(lambda: stock.undone_of(order.id))
        after = (await stub.GetOrder(order_pb2.GetOrderRequest(order_id=order.id, user_id=user))).order

    assert len(releases) == 1
    assert (after.status, after.status_reason.code) == (order_pb2.CANCELLED, "CANCELLED_BY_OWNER")


async def test_all_watchers_see_every_change_until_the_end(shared: Shared, user: str) -> None:
    async with StockService.running(shared.platform, no_answer) as stock, gateway(shared.api) as stub:
        order = (await stub.CreateOrder(an_order(user))).order
        request = order_pb2.WatchOrderRequest(order_id=order.id, user_id=user)
        watches = [stub.WatchOrder(request) for _ in range(5)]
        seen: list[list[Any]] = [[await watch.read()] for watch in watches]
        until_settled = asyncio.ensure_future(settled(stub, order.id, user))
        await stock.reply({"order_id": order.id, "success": True})
        first_outcome = await until_settled
        await stub.CancelOrder(order_pb2.CancelOrderRequest(order_id=order.id, user_id=user, reason="no"))
        for answers, watch in zip(seen, watches, strict=True):
            while (answer := await watch.read()) is not grpc.aio.EOF:
                answers.append(answer)
        late = await all_of(stub.WatchOrder(request))

    statuses = [[answer.order.status for answer in answers] for answers in seen]
    assert statuses == [[order_pb2.PENDING, order_pb2.CONFIRMED, order_pb2.CANCELLED]] * 5
    assert [answer.order.status for answer in first_outcome][-1] == order_pb2.CONFIRMED
    assert [answer.order.status for answer in late] == [order_pb2.CANCELLED]
    assert {answers[-1].order.status_reason.message for answers in seen} == {"no"}


async def test_a_watcher_that_leaves_leaves_nothing_behind(shared: Shared, user: str) -> None:
    async with gateway(shared.api) as stub:
        order = (await stub.CreateOrder(an_order(user))).order
        before = watches_ended(shared)
        call = stub.WatchOrder(order_pb2.WatchOrderRequest(order_id=order.id, user_id=user))
        first: Any = await call.read()
        call.cancel()
        await eventually(lambda: watches_ended(shared) > before)

    assert first.order.status == order_pb2.PENDING


async def test_watchers_are_let_go_as_unavailable_when_the_server_stops(platform: Platform) -> None:
    api = await platform.start_api()

    async with gateway(api) as stub:
        order = (await stub.CreateOrder(an_order())).order
        call = stub.WatchOrder(order_pb2.WatchOrderRequest(order_id=order.id, user_id="ada"))
        await call.read()
        exiting = asyncio.ensure_future(asyncio.to_thread(api.stop))
        failure = await failure_of(call.read())

    assert failure.code is grpc.StatusCode.UNAVAILABLE
    assert failure.retry_seconds > 0
    assert await exiting == 0


async def test_the_history_tells_each_event_and_when_the_broker_took_it(shared: Shared, user: str) -> None:
    async with (
        StockService.running(shared.platform, refusal),
        Recorder.running(shared.platform) as recorder,
        gateway(shared.api) as stub,
    ):
        order = (await stub.CreateOrder(an_order(user))).order
        sent = await eventually(lambda: recorder.of_order(order.id)[1:] and recorder.of_order(order.id))
        request = order_pb2.ListOrderEventsRequest(order_id=order.id, user_id=user)
        events = await eventually(lambda: confirmed_events(stub, request))

    assert [(event.id, event.type, event.version) for event in events] == [
        (event["message_id"], event["type"], event["version"]) for event in sent
    ]
    assert [event.status for event in events] == [order_pb2.PENDING, order_pb2.CANCELLED]
    assert [json.loads(event.body)["reason_code"] for event in events[1:]] == ["STOCK_REFUSED"]
    now = datetime.now(UTC)
    for event in events:
        assert UUID(event.id).version == 7
        assert (
            now - timedelta(minutes=1) < event.occurred_at.ToDatetime(UTC) <= event.confirmed_at.ToDatetime(UTC) < now
        )


async def test_the_history_comes_in_pages(shared: Shared, user: str) -> None:
    async with StockService.running(shared.platform, success), gateway(shared.api) as stub:
        order = (await stub.CreateOrder(an_order(user))).order
        await settled(stub, order.id, user)
        await stub.CancelOrder(order_pb2.CancelOrderRequest(order_id=order.id, user_id=user))
        request = order_pb2.ListOrderEventsRequest(order_id=order.id, user_id=user, page_size=3)
        first = await stub.ListOrderEvents(request)
        request.page_token = first.next_page_token
        second = await stub.ListOrderEvents(request)

    assert [event.version for event in first.events] == [1, 2, 3]
    assert [event.type for event in second.events] == ["order.stock_release_requested"]
    assert second.next_page_token == ""


async def settled(stub: Any, order_id: str, user: str) -> list[order_pb2.WatchOrderResponse]:
    """What a watcher sees until the saga has its outcome."""
    request = order_pb2.WatchOrderRequest(order_id=order_id, user_id=user, until_settled=True)
    return await all_of(stub.WatchOrder(request))


async def confirmed_events(stub: Any, request: order_pb2.ListOrderEventsRequest) -> list[order_pb2.OrderEvent]:
    """The history, once the broker has confirmed all of it."""
    events = list((await stub.ListOrderEvents(request)).events)
    return events if all(event.HasField("confirmed_at") for event in events) else []


def watches_ended(shared: Shared) -> float:
    """How many WatchOrder calls their callers have given up."""
    return shared.api.metric("grpc_server_handled_total", grpc_method="WatchOrder", grpc_code="CANCELLED")
