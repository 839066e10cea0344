"""The parts around the service, each writing down what it saw: gateway, stock and payment service, recorder.

Guarantees: they survive whatever the service's processes, the broker or the network do, reconnect by themselves, and
forget nothing: what is seen is written down first, then answered with a confirm, and only then acknowledged. Like the
real peers they do not recognise what comes again, and their replies carry no message id.

What they do is chosen by the prefix of a product (stock) or of a user (payment), so that it is the same each time.
"""

from tests.faults.cast.collecting import Cast, collect, playing, settled
from tests.faults.cast.gateway import Gateway, Items
from tests.faults.cast.listening import Source
from tests.faults.cast.peers import PaymentService, StockService
from tests.faults.cast.recorder import Recorder

__all__ = [
    "Cast",
    "Gateway",
    "Items",
    "PaymentService",
    "Recorder",
    "Source",
    "StockService",
    "collect",
    "playing",
    "settled",
]
