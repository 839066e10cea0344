"""The saga, end to end, through real processes and servers."""

from order_service.pb import order_pb2
from tests.integration.calls import an_order
from tests.integration.peers import Recorder, StockService, no_answer, refusal, success
from tests.integration.platform import Platform, gateway
from tests.waiting import eventually


async def test_an_order_with_stock_is_confirmed(platform: Platform) -> None:
    api, _ = await platform.start_both()

    async with StockService.running(platform, success), Recorder.running(platform) as recorder, gateway(api) as stub:
        created = (await stub.CreateOrder(an_order())).order
        events = await eventually(lambda: recorder.of_order(created.id)[1:])

    assert created.status == order_pb2.PENDING
    assert [event["type"] for event in events] == ["order.confirmed"]


async def test_an_order_without_stock_is_cancelled_with_the_peers_reason(platform: Platform) -> None:
    api, _ = await platform.start_both()

    async with StockService.running(platform, no_answer) as stock, gateway(api) as stub:
        created = (await stub.CreateOrder(an_order())).order
        request = order_pb2.WatchOrderRequest(order_id=created.id, user_id="ada")
        seen: list[order_pb2.Order] = []
        async for answer in stub.WatchOrder(request):
            if not seen:
                await stock.reply(refusal({"order_id": created.id}))
            seen.append(answer.order)

    assert [order.status for order in seen] == [order_pb2.PENDING, order_pb2.CANCELLED]
    assert seen[-1].status_reason.code == "STOCK_REFUSED"
    assert seen[-1].status_reason.message == "none left"
