"""Several workers at once: they share the outbox, take over from one another, and never reorder an order's events."""

import asyncio
import signal
import time
from collections.abc import Collection
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from order_service.pb import order_pb2
from order_service.storage.events import bucket_of
from tests.integration.calls import an_order
from tests.integration.load import Load, Sent
from tests.integration.peers import Recorder, StockService, no_answer, success
from tests.integration.platform import Platform, Running, gateway
from tests.integration.standing_still import stand_still
from tests.integration.stopwatch import Stopwatch
from tests.integration.tcp_proxy import TcpProxy
from tests.waiting import eventually

BUCKETS = 64
WINDOW = 20
"""Of a worker of which is seen what was in flight."""
RELAY_WINDOW = 128
"""Of all others."""


async def test_workers_that_come_and_go_share_the_load_without_repeats(platform: Platform) -> None:
    api, first = await platform.start_both()

    async with StockService.running(platform, success), Recorder.running(platform) as recorder, gateway(api) as stub:
        load = Load(stub, "ada")
        async with load.placing():
            second, third = platform.spawn("worker"), platform.spawn("worker")
            for worker in (second, third):
                await platform.wait_until_ready(worker)
            await eventually(lambda: all(16 <= leased(worker) <= 32 for worker in (first, second, third)))
            await eventually(lambda: len(recorder.messages) >= 300)
            exit_codes = await asyncio.gather(*[asyncio.to_thread(worker.stop) for worker in (first, second)])
            await eventually(lambda: leased(third) == BUCKETS)
        events = await all_settled(recorder, load)

    assert exit_codes == [0, 0]
    assert events.repeats <= explained(first, second, third)


async def test_a_worker_that_is_killed_is_taken_over_within_seconds(platform: Platform) -> None:
    api, first = await platform.start_both(RELAY_WINDOW=str(WINDOW))
    second = await platform.start_worker(RELAY_WINDOW=str(WINDOW))

    async with StockService.running(platform, success), Recorder.running(platform) as recorder, gateway(api) as stub:
        await eventually(lambda: leased(first) == leased(second) == BUCKETS / 2)
        load = Load(stub, "ada")
        async with load.placing():
            await eventually(lambda: len(recorder.messages) >= 100)
            before = await owners(platform)
            with Stopwatch.running() as watch:
                first.kill()
                killed_at = await now(platform)
                enough = len(load.acknowledged) + 100
                await eventually(lambda: len(load.acknowledged) >= enough)
                await eventually(lambda: leased(second) == BUCKETS)
                lost = watch.lost()
        events = await all_settled(recorder, load)
        after = await owners(platform)
        taken_over = [bucket for bucket in before if after[bucket] != before[bucket]]
        sent_again_at = await first_confirmed(platform, taken_over, killed_at)

    assert len(taken_over) == BUCKETS / 2
    # The lease, one renewal of the other, and a window that it may have been at.
    assert (sent_again_at - killed_at).total_seconds() - lost < 5
    assert events.repeats <= WINDOW + explained(second)


async def test_a_worker_that_cannot_reach_the_broker_leaves_its_share_to_the_others(platform: Platform) -> None:
    async with TcpProxy.to(platform.rabbitmq_url) as (proxy, url):
        api, other = await platform.start_both()
        cut_off = await platform.start_worker(RABBITMQ_URL=url)
        async with StockService.running(platform, success), Recorder.running(platform) as recorder:
            await eventually(lambda: leased(cut_off) == leased(other) == BUCKETS / 2)
            await proxy.cut()
            await eventually(lambda: leased(other) == BUCKETS)
            async with gateway(api) as stub:
                load = Load(stub, "ada")
                await load.place(100)
            events = await all_settled(recorder, load)
            kept = leased(cut_off)
            await proxy.restore()
            await eventually(lambda: leased(cut_off) == leased(other) == BUCKETS / 2)

    assert events.repeats <= explained(cut_off, other)
    assert kept == 0


async def test_a_worker_that_stood_still_loses_nothing_and_reorders_nothing(platform: Platform) -> None:
    api, first = await platform.start_both(RELAY_WINDOW=str(WINDOW))
    second = await platform.start_worker(RELAY_WINDOW=str(WINDOW))

    async with StockService.running(platform, success), Recorder.running(platform) as recorder, gateway(api) as stub:
        await eventually(lambda: leased(first) == leased(second) == BUCKETS / 2)
        load = Load(stub, "ada")
        async with load.placing():
            await eventually(lambda: len(recorder.messages) >= 100)
            await stand_still(platform, first)
            stopped_at, before = time.monotonic(), len(recorder.messages)
            await eventually(lambda: leased(second) == BUCKETS and time.monotonic() - stopped_at > 4)
            await eventually(lambda: len(recorder.messages) - before > 100)
            first.process.send_signal(signal.SIGCONT)
            await eventually(lambda: leased(first) == BUCKETS / 2)
        events = await all_settled(recorder, load)

    # Its own window, and what the machine lets run out besides.
    assert events.repeats <= WINDOW + explained(second) + max(0, explained(first) - RELAY_WINDOW)
    assert first.process.poll() is None


async def test_a_worker_that_lost_its_lease_marks_nothing(platform: Platform) -> None:
    """Another one has taken over between the broker's confirm and the mark; it may be sending the same event."""
    async with TcpProxy.to(platform.rabbitmq_url) as (proxy, url):
        api, worker = await platform.start_both(RABBITMQ_URL=url)
        async with Recorder.running(platform) as recorder, gateway(api) as stub:
            proxy.freeze(requests=False)
            order_id = (await stub.CreateOrder(an_order())).order.id
            await eventually(lambda: recorder.types_of(order_id) == ["order.created"])
            await platform.query(
                "update order_service.relay_leases set owner = %s, epoch = epoch + 1, expires_at = 'infinity'", uuid4()
            )
            proxy.thaw()
            fenced = await eventually(lambda: worker.log_lines("relay.fenced"))
            waiting = await platform.query("select version from order_service.outbox")
            await platform.query("update order_service.relay_leases set expires_at = '-infinity'")
            await eventually(lambda: nothing_waits(platform))
            await eventually(lambda: len(recorder.messages) == 2)

    ids = [event["message_id"] for event in recorder.of_order(order_id)]
    assert [(line["confirmed"], line["marked"]) for line in fenced] == [(1, 0)]
    assert waiting == [(1,)]
    assert ids == [ids[0], ids[0]]


async def test_what_is_in_flight_is_not_given_up_to_a_worker_that_comes(platform: Platform) -> None:
    async with TcpProxy.to(platform.rabbitmq_url) as (proxy, url), TcpProxy.to(platform.database_url) as (gate, gated):
        api, first = await platform.start_both(RABBITMQ_URL=url)
        async with Recorder.running(platform) as recorder, gateway(api) as stub:
            # It has started but for PostgreSQL: the broker's answers cannot be kept back for as long as a start takes.
            gate.freeze()
            second = platform.spawn("worker", DATABASE_URL=gated)
            await eventually(lambda: gate.accepted)
            proxy.freeze(requests=False)
            await stub.BatchCreateOrders(order_pb2.BatchCreateOrdersRequest(requests=[an_order()] * 40))
            await eventually(lambda: recorder.messages)
            gate.thaw()
            await platform.wait_until_ready(second)
            for _ in range(3):
                await one_renewal(platform)
            meanwhile = [leased(first), leased(second)]
            proxy.thaw()
            await eventually(lambda: nothing_waits(platform))
            await eventually(lambda: leased(first) == leased(second) == BUCKETS / 2)
            second.kill()

    assert meanwhile == [BUCKETS, 0] or ran_out(first)
    assert len(recorder.sent().histories()) == 40
    assert recorder.sent().repeats <= explained(first)


async def test_roles_can_be_split_among_workers(platform: Platform) -> None:
    api = platform.spawn("api")
    workers = [platform.spawn("worker", "--only", role) for role in ("relay", "consumer", "timers")]
    for process in (api, *workers):
        await platform.wait_until_ready(process)

    async with StockService.running(platform, success), Recorder.running(platform) as recorder, gateway(api) as stub:
        order_id = (await stub.CreateOrder(an_order())).order.id
        await eventually(lambda: recorder.types_of(order_id) == ["order.created", "order.confirmed"])

    assert [leased(worker) for worker in workers] == [BUCKETS, 0, 0]


async def test_two_workers_let_a_deadline_pass_once(platform: Platform) -> None:
    api, first = await platform.start_both(SAGA_STOCK_TIMEOUT="1s")
    second = await platform.start_worker(SAGA_STOCK_TIMEOUT="1s")

    async with StockService.running(platform, no_answer), Recorder.running(platform) as recorder, gateway(api) as stub:
        load = Load(stub, "ada", per_second=1_000)
        await load.place(200)
        events = await all_settled(recorder, load, "order.cancelled")

    assert {len(history) for history in events.histories().values()} == {2}
    assert events.repeats <= explained(first, second)


async def all_settled(recorder: Recorder, load: Load, outcome: str = "order.confirmed") -> Sent:
    """All events, once every order that was acknowledged has its outcome; in version order."""
    await eventually(lambda: len(recorder.sent().histories()) == len(load.acknowledged))
    await eventually(lambda: recorder.sent().are_settled())
    events = recorder.sent()
    events.assert_in_version_order()
    assert events.histories().keys() == set(load.acknowledged.values())
    assert events.outcomes() == {outcome: len(load.acknowledged)}
    return events


def ran_out(worker: Running) -> int:
    """How often a worker could not renew its leases in time, because it or PostgreSQL was not let run: others may have
    taken over then what it had in flight. Nothing but a stall of the whole machine leads to that here."""
    return len(worker.log_lines("leases.ran_out"))


def explained(*workers: Running) -> int:
    """How many events may come twice by that, at most; usually none."""
    return RELAY_WINDOW * sum(ran_out(worker) for worker in workers)


async def owners(platform: Platform) -> dict[int, UUID]:
    """Which relay has each bucket."""
    return dict(await platform.query("select bucket, owner from order_service.relay_leases"))


async def now(platform: Platform) -> datetime:
    """PostgreSQL's time."""
    ((at,),) = await platform.query("select now()")
    assert isinstance(at, datetime)
    return at


async def first_confirmed(platform: Platform, buckets: Collection[int], after: datetime) -> datetime:
    """When the first event of some buckets was confirmed by the broker after that."""
    rows = await platform.query(
        "select order_id, confirmed_at from order_service.event_confirmations where confirmed_at > %s", after
    )
    times: list[datetime] = [confirmed_at for order_id, confirmed_at in rows if bucket_of(order_id) in buckets]
    return min(times)


def leased(worker: Running) -> float:
    """How many buckets a worker believes to be its own."""
    return worker.metric("order_service_relay_leased_buckets")


async def nothing_waits(platform: Platform) -> bool:
    """Whether the outbox is empty."""
    return not await platform.query("select 1 from order_service.outbox limit 1")


async def one_renewal(platform: Platform) -> None:
    """Returns when leases have been renewed."""

    async def last_expiry() -> list[tuple[Any, ...]]:
        return await platform.query("select max(expires_at) from order_service.relays")

    async def moved() -> bool:
        return await last_expiry() != before

    before = await last_expiry()
    await eventually(moved)
