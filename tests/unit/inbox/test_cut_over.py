"""When the queue of the service before may be taken over."""

import pytest

from order_service.broker.existing_queue import ExistingQueue
from order_service.broker.topology import OLD_STOCK_QUEUE
from order_service.inbox.cut_over import OWN, Wanted, refusal

CONSUMED, IDLE = ExistingQueue(OWN.name, 0, 2), ExistingQueue(OWN.name, 9, 0)
OLD, OLD_IN_USE = ExistingQueue(OLD_STOCK_QUEUE, 5, 0), ExistingQueue(OLD_STOCK_QUEUE, 5, 1)


@pytest.mark.parametrize(
    ("own", "old", "forced", "told"),
    [
        (CONSUMED, OLD, False, ""),
        (None, OLD, False, "start a worker first"),
        (None, OLD, True, "start a worker first"),
        (IDLE, OLD, False, "no worker consumes"),
        (IDLE, OLD, True, ""),
        (CONSUMED, OLD_IN_USE, False, "stop the old service first"),
        (CONSUMED, OLD_IN_USE, True, ""),
    ],
)
def test_it_begins_only_when_no_reply_can_be_lost(
    own: ExistingQueue | None, old: ExistingQueue, forced: bool, told: str
) -> None:
    wrong = refusal(own, old, Wanted(force=forced))

    assert told in wrong
    assert bool(wrong) is bool(told)
