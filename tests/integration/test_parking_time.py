"""From when on RELAY_PARK_AFTER counts: from the first failed try, by the database's clock."""

import pytest

from order_service.use_cases.handle_parked_messages import redrive_parked
from tests.integration.calls import an_order
from tests.integration.platform import Platform, gateway
from tests.integration.storage_fixtures import opened
from tests.waiting import eventually

PARK_AFTER = "1h"


async def an_unsent_order(platform: Platform) -> None:
    """An order whose order.created has waited for two days, as after a long outage of the broker."""
    api = await platform.start_api()
    async with gateway(api) as stub:
        await stub.CreateOrder(an_order())
    await platform.query("update order_service.outbox set enqueued_at = now() - interval '2 days'")


async def tries(platform: Platform) -> int:
    """How often the event was given back."""
    ((attempts,),) = await platform.query("select attempts from order_service.outbox")
    return int(attempts)


async def parked(platform: Platform) -> list[int]:
    """The parked events."""
    found = await platform.query("select parked_id from order_service.parked_messages where direction = 'OUT'")
    return [parked_id for (parked_id,) in found]


async def tried_again(platform: Platform) -> None:
    """Makes the event due and waits for the next failed try."""
    before = await tries(platform)
    await platform.query("update order_service.outbox set due_at = now() where due_at < 'infinity'")
    await eventually(lambda: _more_than(platform, before))


async def _more_than(platform: Platform, attempts: int) -> bool:
    return await tries(platform) > attempts


async def test_an_event_that_waited_out_a_long_outage_is_not_parked_at_its_first_return(platform: Platform) -> None:
    await an_unsent_order(platform)

    await platform.start_worker(RELAY_PARK_AFTER=PARK_AFTER)
    await eventually(lambda: tries(platform))
    await tried_again(platform)

    assert await parked(platform) == []
    ((recent,),) = await platform.query(
        "select now() - first_failed_at < interval '1 minute' from order_service.outbox"
    )
    assert recent


async def test_an_event_that_was_not_taken_for_long_is_parked(platform: Platform) -> None:
    await an_unsent_order(platform)
    await platform.start_worker(RELAY_PARK_AFTER=PARK_AFTER)
    await eventually(lambda: tries(platform))

    await platform.query("update order_service.outbox set first_failed_at = now() - interval '59 minutes'")
    await tried_again(platform)
    too_early = await parked(platform)
    await platform.query(
        "update order_service.outbox set first_failed_at = now() - interval '61 minutes', due_at = now()"
    )
    in_time = await eventually(lambda: parked(platform))

    assert too_early == []
    assert len(in_time) == 1


async def test_later_failures_do_not_move_the_time_of_the_first(platform: Platform) -> None:
    await an_unsent_order(platform)
    await platform.start_worker(RELAY_PARK_AFTER=PARK_AFTER)
    await eventually(lambda: tries(platform))
    first = await platform.query("select first_failed_at from order_service.outbox")

    await tried_again(platform)

    assert await platform.query("select first_failed_at from order_service.outbox") == first


@pytest.mark.parametrize(
    ("left_behind", "meaning"),
    [
        ("attempts = 9, first_failed_at = null", "it failed nine times without noting when that began"),
        ("enqueued_at = now(), first_failed_at = now() - interval '2 days'", "it redrove what had been parked"),
    ],
)
async def test_what_the_previous_version_leaves_behind_is_not_parked_too_early(
    platform: Platform, left_behind: str, meaning: str
) -> None:
    await an_unsent_order(platform)
    await platform.query(f"update order_service.outbox set {left_behind}")
    before = await tries(platform)

    await platform.start_worker(RELAY_PARK_AFTER=PARK_AFTER)
    await eventually(lambda: _more_than(platform, before))

    assert await parked(platform) == [], meaning


async def test_a_redriven_event_counts_anew(platform: Platform) -> None:
    await an_unsent_order(platform)
    worker = await platform.start_worker(RELAY_PARK_AFTER="1s")
    (parked_id,) = await eventually(lambda: parked(platform))
    worker.stop()

    async with opened(platform.database_url) as database:
        await database.run(lambda work: redrive_parked(work, parked_id))

    counted = await platform.query(
        "select first_failed_at, now() - enqueued_at < interval '1 minute' from order_service.outbox"
    )
    assert counted == [(None, True)]
