"""A message that the client library cannot decode stops nothing."""

from typing import Any

import aio_pika
from pamqp.commands import Basic

from order_service.pb import order_pb2
from tests.integration.peers import StockService, no_answer
from tests.integration.platform import Platform, gateway
from tests.waiting import eventually

_NO_UTF8 = b"\xff\xfe"
_MESSAGE_ID = 1 << 7


class PropertiesOfOctets(Basic.Properties):
    """Nothing but a message id that is no UTF-8."""

    def marshal(self) -> bytes:
        return _MESSAGE_ID.to_bytes(2, "big") + bytes([len(_NO_UTF8)]) + _NO_UTF8


async def test_a_reply_whose_message_id_is_no_text_has_its_effect(platform: Platform) -> None:
    api = await platform.start_api()
    await platform.start_worker()

    async with StockService.running(platform, no_answer) as stock, gateway(api) as stub:
        request = order_pb2.CreateOrderRequest(
            user_id="ada", items=[order_pb2.OrderItem(product_id="tea", quantity=1, price=1)]
        )
        order = (await stub.CreateOrder(request)).order
        await eventually(lambda: stock.asked)
        await _publish(platform, f'{{"order_id": "{order.id}", "success": true}}'.encode())

        async def status() -> Any:
            found = await stub.GetOrder(order_pb2.GetOrderRequest(order_id=order.id, user_id="ada"))
            return found.order.status == order_pb2.CONFIRMED

        await eventually(status)


async def _publish(platform: Platform, body: bytes) -> None:
    async with await aio_pika.connect(platform.rabbitmq_url) as connection, connection.channel() as channel:
        underlay = await channel.get_underlay_channel()
        await underlay.basic_publish(body, exchange="stock_update_exchange", properties=PropertiesOfOctets())
