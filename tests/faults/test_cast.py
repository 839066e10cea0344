"""The cast on real servers: whatever an order goes through, the judge hears all of it and has nothing to say."""

import asyncio
from datetime import timedelta

from order_service.private_servers.ports import reserved_ports
from tests.faults.cast import Cast, collect, playing, settled
from tests.faults.judge import judge
from tests.integration.platform import Platform
from tests.waiting import eventually

DEADLINE = timedelta(seconds=4)
"""Long enough for those who answer, however busy the machine."""
USERS_AND_PRODUCTS = {
    "everything-there": "ok-tea",
    "nothing-there": "refuse-tea",
    "unheard": "silent-tea",
    "heard-too-late": "late-tea",
    "told-twice": "twice-tea",
    "broke-buyer": "ok-tea",
    "absent-buyer": "ok-tea",
    "slow-buyer": "ok-tea",
    "double-buyer": "ok-tea",
}


async def test_the_judge_has_nothing_to_say_whatever_an_order_goes_through(platform: Platform) -> None:
    with reserved_ports(1) as (port,):
        async with playing([platform.rabbitmq_url], f"127.0.0.1:{port}", with_payment=True) as cast:
            deadline = f"{DEADLINE.total_seconds():g}s"
            settings = {"SAGA_PAYMENT": "on", "SAGA_STOCK_TIMEOUT": deadline, "SAGA_PAYMENT_TIMEOUT": deadline}
            await platform.start_both(GRPC_PORT=str(port), **settings)
            placed = await asyncio.gather(*[place(cast, *one) for one in USERS_AND_PRODUCTS.items()])
            await cast.gateway.create("everything-there", {"ok-tea": (2, 1999)}, "everything-there")
            await eventually(lambda: settled(platform.database_url, cast))
            await cast.gateway.cancel("everything-there", placed[0])
            await cast.gateway.get("everything-there", placed[0])
            await cast.stock.send(b"poison")
            await eventually(lambda: settled(platform.database_url, cast, poison=1))
            await cast.recorder.caught_up()
            history = await collect(
                platform.database_url, cast, longest_wait=timedelta(0), shortest_wait=DEADLINE, poison=1, most_repeats=0
            )

    assert judge(history) == []
    assert len(history.orders) == len(USERS_AND_PRODUCTS)
    assert {order.status for order in history.orders} == {"CONFIRMED", "CANCELLED"}


async def place(cast: Cast, user: str, product: str) -> str:
    return await cast.gateway.create(user, {product: (2, 1999)}, request_id=user)


async def test_parts_that_lose_their_connections_come_back_and_forget_nothing(platform: Platform) -> None:
    with reserved_ports(1) as (port,):
        async with playing([platform.rabbitmq_url], f"127.0.0.1:{port}") as cast:
            await platform.start_both(GRPC_PORT=str(port))
            known = await eventually(lambda: connections_of_both(platform))
            platform.management.close_connections(known)
            await place(cast, "ada", "ok-tea")
            await eventually(lambda: settled(platform.database_url, cast))
            history = await collect(platform.database_url, cast, longest_wait=timedelta(0))

    assert judge(history) == []
    assert cast.recorder.connections == cast.stock.connections == 2


def connections_of_both(platform: Platform) -> list[str]:
    """The connections of the recorder and of the stock service, once RabbitMQ's statistics have both."""
    found = platform.management.connections("cast ")
    return found if len(found) == 2 else []
