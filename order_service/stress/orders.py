"""The orders of a run as requests: the same plan, the same orders."""

import random
from typing import Final

from order_service.pb import order_pb2
from order_service.stress.plan import Plan, Rpc

_MOST_BASKETS: Final = 256
_MOST_ITEMS: Final = 10_000
_MOST_PIECES: Final = 4
_HIGHEST_PRICE: Final = 99


class Orders:
    """Makes requests. What is random in them is made beforehand, so that it costs the load no time."""

    def __init__(self, plan: Plan) -> None:
        chance = random.Random(plan.seed)
        self._plan = plan
        baskets = min(_MOST_BASKETS, _MOST_ITEMS // plan.items)
        self._baskets = [_basket(plan, chance) for _ in range(baskets)]

    def single(self, number: int) -> order_pb2.CreateOrderRequest:
        """One order."""
        return order_pb2.CreateOrderRequest(
            user_id=self._plan.user_of(number),
            request_id=f"{self._plan.run_id}-{number}",
            items=self._baskets[number % len(self._baskets)],
        )

    def batch(self, rpc: Rpc) -> order_pb2.BatchCreateOrdersRequest:
        """All orders of a call."""
        return order_pb2.BatchCreateOrdersRequest(requests=[self.single(number) for number in rpc.numbers])


def _basket(plan: Plan, chance: random.Random) -> list[order_pb2.OrderItem]:
    products = plan.products * -(-plan.items // len(plan.products))
    return [
        # A whole number is a price in every currency, also in one without cents.
        order_pb2.OrderItem(
            product_id=product, quantity=chance.randint(1, _MOST_PIECES), price=chance.randint(1, _HIGHEST_PRICE)
        )
        for product in chance.sample(products, plan.items)
    ]
