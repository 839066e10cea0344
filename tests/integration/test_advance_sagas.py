"""Whatever happens to an order happens once and one thing after the other, whoever brings it at the same instant."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import product
from uuid import UUID

import pytest
from structlog.testing import capture_logs
from uuid_utils.compat import uuid7

from order_service.domain.errors import EtagMismatch, IllegalTransition, OrderNotFound
from order_service.domain.order import Reason
from order_service.domain.status import Actor, OrderStatus, ReasonCode
from order_service.saga.engine import DeadlinePassed, ReplyReceived, Stimulus
from order_service.saga.order_saga import StepName
from order_service.storage.database import Database
from order_service.storage.unit_of_work import UnitOfWork
from order_service.telemetry.metrics import Metrics
from order_service.timers.deadlines import Deadlines
from order_service.use_cases.apply_replies import Applied, Reply, ReplyOutcome, apply_replies
from order_service.use_cases.cancel_order import Cancellation, cancel_order
from order_service.use_cases.expire_sagas import expire_sagas
from tests.integration.platform import Platform
from tests.integration.storage_fixtures import (
    CANCEL,
    PAYMENT_RULES,
    RULES,
    WITH_PAYMENT,
    ask,
    blocked,
    create,
    created,
    histories,
    history_of,
    make_due,
    opened,
    reply,
    stimulate,
)
from tests.waiting import eventually

STOCK, PAYMENT = "StockUpdateResult", "PaymentResult"
TRACE_OF_CREATE = "00-11111111111111111111111111111111-1111111111111111-01"
TRACE_OF_REPLY = "00-22222222222222222222222222222222-2222222222222222-01"

STIMULI: dict[str, Stimulus] = {
    "deadline": DeadlinePassed(),
    "success": ReplyReceived(StepName.STOCK, True),
    "failure": ReplyReceived(StepName.STOCK, False, "none left"),
    "cancel": CANCEL,
}
OUTCOMES = {
    ("deadline", "deadline"): "cancelled",
    ("deadline", "success"): "cancelled stock_release_requested",
    ("deadline", "failure"): "cancelled",
    ("deadline", "cancel"): "cancelled",
    ("success", "deadline"): "confirmed",
    ("success", "success"): "confirmed",
    ("success", "failure"): "confirmed",
    ("success", "cancel"): "confirmed cancelled stock_release_requested",
    ("failure", "deadline"): "cancelled",
    ("failure", "success"): "cancelled stock_release_requested",
    ("failure", "failure"): "cancelled",
    ("failure", "cancel"): "cancelled",
    ("cancel", "deadline"): "cancelled",
    ("cancel", "success"): "cancelled stock_release_requested",
    ("cancel", "failure"): "cancelled",
    ("cancel", "cancel"): "cancelled",
}
"""What one thing and then another leave of an order in the end, by the contract."""


@pytest.fixture
async def database(platform: Platform) -> AsyncIterator[Database]:
    async with opened(platform.database_url, connections=20, seconds=30) as database:
        yield database


async def apply(database: Database, *replies: Reply, source: str = STOCK) -> Applied:
    return await database.run(lambda work: apply_replies(work, source, replies, RULES))


async def cancel(database: Database, order_id: UUID, **changes: str) -> OrderStatus:
    """Cancels as staff, or as the user given."""
    actor = Actor.OWNER if "user_id" in changes else Actor.STAFF
    asked = Cancellation(order_id, actor, **{"user_id": "", **changes})
    return (await database.run(lambda work: cancel_order(work, asked, RULES))).order.status


def released_once_if_needed(history: list[str]) -> bool:
    """What a success and a deadline may leave, whichever was first."""
    return history in (["created", "confirmed"], ["created", "cancelled", "stock_release_requested"])


@pytest.mark.parametrize(("first", "second"), [*product(STIMULI, STIMULI)])
async def test_what_waits_for_another_sees_what_that_one_did(
    platform: Platform, database: Database, first: str, second: str
) -> None:
    """The lock is waited for, then the saga is read: an order as it is after the wait, with its saga as it was before,
    would be decided about twice."""
    (order_id,) = await created(database, 1)
    await make_due(platform, [order_id])
    done, may_commit = asyncio.Event(), asyncio.Event()

    async def hold(work: UnitOfWork) -> None:
        await stimulate(work, order_id, STIMULI[first])
        await work.orders.get([order_id])
        done.set()
        await may_commit.wait()

    holding = asyncio.create_task(database.run(hold))
    await done.wait()
    waiting = asyncio.create_task(database.run(lambda work: stimulate(work, order_id, STIMULI[second])))
    await eventually(lambda: blocked(platform))
    may_commit.set()
    await asyncio.gather(holding, waiting)

    assert " ".join(await history_of(platform, order_id)) == f"created {OUTCOMES[first, second]}"
    ((version,),) = await platform.query("select version from order_service.orders")
    assert version == 1 + len(OUTCOMES[first, second].split())


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_deadline_and_success_at_the_same_instant_end_hundreds_of_orders_once_each(
    platform: Platform, database: Database, seed: int
) -> None:
    chance = random.Random(seed)
    order_ids = await created(database, 300)
    await make_due(platform, order_ids)
    work: list[Callable[[UnitOfWork], Awaitable[object]]] = []
    for _ in range(2):
        for batch in batches(chance.sample(order_ids, 300), 20):
            work.append(lambda work, batch=batch: expire_sagas(work, batch, RULES))  # type: ignore[misc]
    for batch in batches(chance.sample(order_ids, 300), 20):
        replies = [reply(order_id) for order_id in batch]
        work += [lambda work, replies=replies: apply_replies(work, STOCK, replies, RULES)] * 2  # type: ignore[misc]
    chance.shuffle(work)

    await asyncio.gather(*[database.run(one) for one in work])

    found = await histories(platform)
    assert len(found) == 300
    assert [history for history in found.values() if not released_once_if_needed(history)] == []
    assert len({tuple(history) for history in found.values()}) == 2


def batches(order_ids: list[UUID], size: int) -> list[list[UUID]]:
    return [order_ids[start : start + size] for start in range(0, len(order_ids), size)]


@pytest.mark.parametrize("seed", [1, 2])
async def test_everything_at_once_leaves_each_order_with_one_outcome_and_no_gap(
    platform: Platform, database: Database, seed: int
) -> None:
    chance = random.Random(seed)
    order_ids = await created(database, 40, timeouts=WITH_PAYMENT)
    await make_due(platform, order_ids)
    stimuli: list[Stimulus] = [
        *STIMULI.values(),
        ReplyReceived(StepName.PAYMENT, True),
        ReplyReceived(StepName.PAYMENT, False, "declined"),
    ]
    happenings = [(order_id, stimulus) for order_id in order_ids for stimulus in stimuli for _ in range(2)]
    chance.shuffle(happenings)

    await asyncio.gather(
        *[
            database.run(lambda work, order_id=order_id, it=it: stimulate(work, order_id, it, PAYMENT_RULES))  # type: ignore[misc]
            for order_id, it in happenings
        ]
    )

    found = list((await histories(platform)).values())
    assert len(found) == 40
    for history in found:
        assert len(set(history)) == len(history)
        assert {"created", "cancelled", "stock_release_requested"} <= set(history)
        assert "confirmed" not in history[history.index("cancelled") :]
        assert ("payment_refund_requested" in history) >= ("confirmed" in history)
        assert ("payment_refund_requested" in history) <= ("payment_requested" in history)


async def test_two_consumers_of_the_same_replies_apply_each_once(platform: Platform, database: Database) -> None:
    order_ids = await created(database, 200)
    replies = [reply(order_id) for order_id in order_ids]

    first, second = await asyncio.gather(apply(database, *replies), apply(database, *replies[::-1]))

    outcomes = zip(first.outcomes, second.outcomes[::-1], strict=True)
    assert {frozenset(pair) for pair in outcomes} == {frozenset({ReplyOutcome.APPLIED, ReplyOutcome.DUPLICATE})}
    assert set(map(tuple, (await histories(platform)).values())) == {("created", "confirmed")}
    assert await platform.query("select count(*) from order_service.inbox") == [(200,)]


async def test_consumers_of_the_same_messages_never_wait_for_each_other_in_a_circle(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("order_service.storage.database.MAX_ATTEMPTS", 1)

    for _ in range(3):
        keys = [uuid7() for _ in range(3_000)]
        noted = await asyncio.gather(
            *[
                database.run(lambda work, keys=keys: work.inbox.insert(STOCK, keys))  # type: ignore[misc]
                for keys in (keys, keys[::-1]) * 2
            ]
        )
        assert sum(len(new) for new in noted) == 3_000


async def test_two_consumers_of_replies_that_are_alike_in_meaning_only_apply_each_once(
    platform: Platform, database: Database
) -> None:
    order_ids = await created(database, 200)

    applied = await asyncio.gather(
        apply(database, *[reply(order_id) for order_id in order_ids]),
        apply(database, *[reply(order_id) for order_id in order_ids[::-1]]),
    )

    outcomes = [outcome for one in applied for outcome in one.outcomes]
    assert outcomes.count(ReplyOutcome.APPLIED) == outcomes.count(ReplyOutcome.DUPLICATE) == 200
    assert set(map(tuple, (await histories(platform)).values())) == {("created", "confirmed")}


async def test_replies_within_a_batch_are_applied_in_their_order_each_once(
    platform: Platform, database: Database
) -> None:
    one, other = await created(database, 2)
    success, failure = reply(one), reply(one, False, "none left")

    applied = await apply(
        database, reply(other, False, "none left"), success, success, reply(one), failure, reply(other), failure
    )

    assert applied.outcomes == (
        ReplyOutcome.APPLIED,
        ReplyOutcome.APPLIED,
        ReplyOutcome.DUPLICATE,
        ReplyOutcome.DUPLICATE,
        ReplyOutcome.IGNORED,
        ReplyOutcome.LATE,
        ReplyOutcome.DUPLICATE,
    )
    found = await histories(platform)
    assert found[one] == ["created", "confirmed"]
    assert found[other] == ["created", "cancelled", "stock_release_requested"]


async def test_the_same_message_on_two_queues_is_two_messages(platform: Platform, database: Database) -> None:
    (order_id,) = await created(database, 1)
    same = reply(order_id)
    await apply(database, same)

    applied = await apply(database, same, source=PAYMENT)

    assert applied.outcomes == (ReplyOutcome.DUPLICATE,)
    noted = await platform.query("select consumer, message_key from order_service.inbox order by consumer")
    assert noted == [(PAYMENT, same.message_key), (STOCK, same.message_key)]


async def test_a_reply_for_an_unknown_order_has_no_effect_and_is_not_noted(
    platform: Platform, database: Database
) -> None:
    (order_id,) = await created(database, 1)
    unknown = reply(uuid7())

    applied = await apply(database, unknown, reply(order_id), unknown)

    assert applied.outcomes == (ReplyOutcome.UNKNOWN, ReplyOutcome.APPLIED, ReplyOutcome.DUPLICATE)
    assert (await apply(database, unknown)).outcomes == (ReplyOutcome.UNKNOWN,)
    assert await platform.query("select count(*) from order_service.inbox") == [(1,)]


async def test_a_transaction_that_fails_leaves_the_reply_to_be_applied_later(
    platform: Platform, database: Database
) -> None:
    (order_id,) = await created(database, 1)
    one = reply(order_id)

    async def apply_and_fail(work: UnitOfWork) -> None:
        await apply_replies(work, STOCK, [one], RULES)
        await work.orders.get([order_id])
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await database.run(apply_and_fail)
    before = await history_of(platform, order_id)
    applied = await apply(database, one)

    assert before == ["created"]
    assert applied.outcomes == (ReplyOutcome.APPLIED,)
    assert await history_of(platform, order_id) == ["created", "confirmed"]


async def test_a_deadline_that_is_not_due_by_the_databases_clock_does_nothing(
    platform: Platform, database: Database
) -> None:
    (order_id,) = await created(database, 1)

    await database.run(lambda work: expire_sagas(work, [order_id, uuid7()], RULES))

    assert await history_of(platform, order_id) == ["created"]


@pytest.mark.parametrize("place", [0, 2, 4])
async def test_an_order_that_cannot_be_dealt_with_is_put_off_and_starves_no_other(
    platform: Platform, database: Database, place: int
) -> None:
    order_ids = await created(database, 5)
    await platform.query(
        'update order_service.sagas set steps = \'{"postage": "ASKED"}\' where order_id = %s', order_ids[place]
    )
    await make_due(platform, order_ids)
    deadlines = Deadlines(database, RULES, Metrics(), asyncio.Event())

    with capture_logs() as logs:
        rounds = [await deadlines.round(), await deadlines.round()]

    found = await histories(platform)
    assert rounds == [4, 0]
    assert found.pop(order_ids[place]) == ["created"]
    assert set(map(tuple, found.values())) == {("created", "cancelled")}
    assert [line["order_id"] for line in logs] == [str(order_ids[place])]


async def test_a_saga_that_another_worker_has_ended_meanwhile_is_left_alone(
    platform: Platform, database: Database
) -> None:
    order_ids = await created(database, 20)
    await make_due(platform, order_ids)
    workers = [Deadlines(database, RULES, Metrics(), asyncio.Event()) for _ in range(4)]

    await asyncio.gather(*[worker.round() for worker in workers])

    assert set(map(tuple, (await histories(platform)).values())) == {("created", "cancelled")}
    assert await platform.query("select count(*) from order_service.sagas where deadline_at is not null") == [(0,)]


async def test_an_order_is_cancelled_for_the_reason_given_by_who_may(platform: Platform, database: Database) -> None:
    (order_id,) = await created(database, 1)

    status = await cancel(database, order_id, user_id="ada", reason="too slow")

    assert status is OrderStatus.CANCELLED
    async with database.read() as work:
        stored = (await work.orders.get([order_id]))[order_id]
    assert (stored.reason, stored.version) == (Reason(ReasonCode.CANCELLED_BY_OWNER, "too slow"), 2)
    assert await history_of(platform, order_id) == ["created", "cancelled"]


@pytest.mark.parametrize("user_id", ["bob", "", "ADA"])
async def test_an_order_of_somebody_else_looks_like_no_order(
    platform: Platform, database: Database, user_id: str
) -> None:
    (order_id,) = await created(database, 1)

    with pytest.raises(OrderNotFound) as of_another:
        await cancel(database, order_id, user_id=user_id)
    with pytest.raises(OrderNotFound) as of_nobody:
        await cancel(database, uuid7(), user_id=user_id)

    assert str(of_another.value) == str(of_nobody.value)
    assert await history_of(platform, order_id) == ["created"]


async def test_cancelling_again_succeeds_and_changes_nothing(platform: Platform, database: Database) -> None:
    (order_id,) = await created(database, 1)
    await cancel(database, order_id)

    again = [await cancel(database, order_id), await cancel(database, order_id, user_id="ada", etag='"1"')]

    assert again == [OrderStatus.CANCELLED] * 2
    assert await history_of(platform, order_id) == ["created", "cancelled"]


async def test_an_etag_that_fits_lets_cancel_and_one_of_before_does_not(platform: Platform, database: Database) -> None:
    confirmed, pending = await created(database, 2)
    await apply(database, reply(confirmed))

    with pytest.raises(EtagMismatch):
        await cancel(database, confirmed, etag='"1"')
    with pytest.raises(EtagMismatch):
        await cancel(database, pending, etag="1")

    found = await histories(platform)
    assert (found[confirmed], found[pending]) == (["created", "confirmed"], ["created"])
    assert await cancel(database, confirmed, etag='"2"') is OrderStatus.CANCELLED
    assert await cancel(database, pending, etag='"1"') is OrderStatus.CANCELLED


async def test_of_two_who_cancel_what_both_have_seen_only_one_finds_it_unchanged_or_both_find_it_cancelled(
    platform: Platform, database: Database
) -> None:
    order_ids = await created(database, 20)

    outcomes = await asyncio.gather(
        *[cancel(database, order_id, etag='"1"') for order_id in order_ids for _ in range(2)]
    )

    assert outcomes == [OrderStatus.CANCELLED] * 40
    assert set(map(tuple, (await histories(platform)).values())) == {("created", "cancelled")}


@pytest.mark.parametrize(
    ("status", "actor", "allowed"),
    [
        (OrderStatus.DELIVERED, "", ()),
        (OrderStatus.TERMINATED, "", ()),
        (OrderStatus.IN_PROGRESS, "ada", ()),
        (OrderStatus.SUSPENDED, "ada", ()),
    ],
)
async def test_what_may_not_be_cancelled_any_more_is_refused_with_the_status_now(
    platform: Platform, database: Database, status: OrderStatus, actor: str, allowed: tuple[str, ...]
) -> None:
    (order_id,) = await created(database, 1)
    await platform.query("update order_service.orders set status = %s", status.value)

    with pytest.raises(IllegalTransition) as refused:
        await cancel(database, order_id, **({"user_id": actor} if actor else {}))

    assert (refused.value.status, refused.value.allowed) == (status, allowed)
    assert await history_of(platform, order_id) == ["created"]


@pytest.mark.parametrize("status", [OrderStatus.IN_PROGRESS, OrderStatus.SUSPENDED])
async def test_staff_may_cancel_what_is_in_progress_or_suspended_and_its_stock_is_released(
    platform: Platform, database: Database, status: OrderStatus
) -> None:
    (order_id,) = await created(database, 1)
    await apply(database, reply(order_id))
    await platform.query("update order_service.orders set status = %s", status.value)

    await cancel(database, order_id)

    assert await history_of(platform, order_id) == ["created", "confirmed", "cancelled", "stock_release_requested"]


@pytest.mark.parametrize("late", [True, False], ids=["late success", "cancelled after confirmation"])
async def test_a_release_lists_what_to_put_back(platform: Platform, database: Database, late: bool) -> None:
    released, other = await created(database, 2)
    if not late:
        await apply(database, reply(released), reply(other))
    await cancel(database, released)
    if late:
        await apply(database, reply(released), reply(other))

    ((payload,),) = await platform.query(
        "select payload from order_service.outbox where type = 'order.stock_release_requested'"
    )

    body = json.loads(payload, parse_float=str)
    assert body["order_id"] == str(released)
    assert body["status"] == "CANCELLED"
    assert body["items"] == [
        {"product_id": "cup", "quantity": 1, "price": "3.50"},
        {"product_id": "tea", "quantity": 2, "price": "19.99"},
    ]


async def test_a_payment_and_its_refund_are_of_the_total(platform: Platform, database: Database) -> None:
    (order_id,) = await created(database, 1, timeouts=WITH_PAYMENT)
    await database.run(lambda work: apply_replies(work, STOCK, [reply(order_id)], PAYMENT_RULES))
    paid = reply(order_id, step=StepName.PAYMENT)
    await database.run(lambda work: apply_replies(work, PAYMENT, [paid], PAYMENT_RULES))

    await cancel(database, order_id)

    sums = await platform.query(
        "select type, payload from order_service.order_events where type like 'order.payment%%'"
    )
    assert {type: json.loads(payload, parse_float=str)["amount"] for type, payload in sums} == {
        "order.payment_requested": "43.48",
        "order.payment_refund_requested": "43.48",
    }
    assert (await history_of(platform, order_id))[-3:] == [
        "cancelled",
        "payment_refund_requested",
        "stock_release_requested",
    ]


async def test_events_continue_the_trace_of_what_caused_them_or_else_that_of_the_order(
    platform: Platform, database: Database
) -> None:
    asked = ask(traceparent=TRACE_OF_CREATE)
    await create(database, asked)
    await make_due(platform, [asked.order_id])
    await database.run(lambda work: expire_sagas(work, [asked.order_id], RULES))
    received = ReplyReceived(StepName.STOCK, True)

    await apply(database, Reply(uuid7(), asked.order_id, received, TRACE_OF_REPLY))

    traces = await platform.query("select traceparent from order_service.order_events order by version")
    assert traces == [(TRACE_OF_CREATE,), (TRACE_OF_CREATE,), (TRACE_OF_REPLY,)]


async def test_the_order_carries_the_version_and_time_of_its_last_event(platform: Platform, database: Database) -> None:
    (order_id,) = await created(database, 1)
    await apply(database, reply(order_id))

    await cancel(database, order_id)

    ((version, updated_at, created_at),) = await platform.query(
        "select version, updated_at, created_at from order_service.orders"
    )
    events = await platform.query("select version, occurred_at from order_service.order_events order by version")
    assert events[-1] == (version, updated_at)
    assert events[0] == (1, created_at)
    assert [at for _, at in events] == sorted(at for _, at in events)
