"""What can happen to the service, played on real servers: each brings out bugs of one kind, every time."""

import asyncio
import json
import signal
from uuid import UUID, uuid4

from aio_pika import ExchangeType

from order_service.private_servers.ports import LOOPBACK
from tests.faults.cast import Gateway
from tests.faults.planted.stage import Stage, locked, waiting
from tests.faults.wire import Act, Direction, Message, Protocol
from tests.integration.held_back import end_sessions_of_apis, held_back
from tests.integration.platform import Running
from tests.waiting import eventually

CROWD = 150


async def every_path(stage: Stage) -> None:
    """Orders go through everything that an order can go through; nothing breaks."""
    stage.most_repeats = 0
    stage.settings |= {"SAGA_PAYMENT": "on", "REPLY_RETRY_FOR": "1s"}
    cast = await stage.enter_cast(with_payment=True)
    await stage.ready(stage.spawn("api"), stage.spawn("worker"))
    users = {"ada": "ok-tea", "eve": "refuse-tea", "bob": "silent-tea", "kim": "late-tea", "joe": "twice-tea"}
    users |= {"broke-ann": "ok-tea", "absent-max": "ok-tea", "slow-tim": "ok-tea", "double-liz": "ok-tea"}
    placed = dict(zip(users, await asyncio.gather(*[stage.create(*one) for one in users.items()]), strict=True))
    await asyncio.gather(*[stage.create("ada") for _ in range(5)])
    await stage.has_status(placed["ada"], "CONFIRMED")
    await stage.has_status(placed["joe"], "CONFIRMED")
    await stage.create("ada")
    await cast.stock.reply({"order_id": placed["joe"], "success": False, "reason": "says otherwise"})
    await stage.has_status(placed["bob"], "CANCELLED")
    await stage.gateway.cancel("ada", placed["ada"])
    await stage.gateway.get("ada", placed["ada"])
    await stage.gateway.cancel("ada", placed["ada"])


async def poison(stage: Stage) -> None:
    """Replies come that nobody can understand, or of an order that nobody knows, among good ones."""
    stage.poison = 2
    stage.settings |= {"REPLY_RETRY_FOR": "1s"}
    cast = await stage.enter_cast()
    await stage.ready(stage.spawn("api"), stage.spawn("worker"))
    await cast.stock.send(b"\xff no json")
    await cast.stock.send(json.dumps({"order_id": str(uuid4()), "success": True}).encode())
    await stage.create("ada")
    given_up = "select 1 from order_service.parked_messages where retry_at is null and order_id is not null"
    try:
        await eventually(lambda: stage.platform.query(given_up), 6)
    except AssertionError:
        return


async def crowd(stage: Stage) -> None:
    """Many orders at once, some cancelled, before there are workers; then two at the same time. Nothing breaks."""
    stage.most_repeats = 0
    stage.deadline(5)
    await stage.enter_cast()
    await stage.start("api")
    placed = await asyncio.gather(*[stage.create(f"user-{number}") for number in range(CROWD)])
    await asyncio.gather(*[stage.gateway.cancel(f"user-{number}", placed[number]) for number in range(20)])
    await stage.ready(stage.spawn("worker"), stage.spawn("worker"))


async def killed_while_publishing(stage: Stage) -> None:
    """A worker is killed when an event is on its way to the broker and has not arrived."""
    await _broken_at("Basic.Publish", Direction.TO_SERVER, Act.STRIKE_BEFORE, stage)


async def killed_before_the_mark(stage: Stage) -> None:
    """A worker is killed when the broker has an event, and before it hears so."""
    await _broken_at("Basic.Ack", Direction.TO_CLIENT, Act.STRIKE_BEFORE, stage)


async def cut_while_publishing(stage: Stage) -> None:
    """The connection to the broker ends when an event is on its way and has not arrived."""
    await _broken_at("Basic.Publish", Direction.TO_SERVER, Act.CUT, stage)


async def _broken_at(name: str, direction: Direction, act: Act, stage: Stage) -> None:
    """The first relay's connection breaks at a message, or the relay does, and another takes over."""
    await stage.enter_cast()
    stage.deadline(4)
    wire = await stage.wire()
    url = await wire.through(stage.platform.rabbitmq_url, Protocol.AMQP)
    _, relay = await stage.ready(stage.spawn("api"), stage.spawn("worker", "--only", "relay", RABBITMQ_URL=url))

    def plan(message: Message) -> Act:
        meant = message.name == name and message.direction is direction and not wire.struck.is_set()
        return act if meant else Act.PASS

    wire.arm(plan, relay.kill)
    await stage.create("ada")
    await asyncio.wait_for(wire.struck.wait(), 30)
    await stage.start("worker", *(("--only", "consumer") if act is Act.CUT else ()))
    await stage.create("bob")


async def nobody_listens(stage: Stage) -> None:
    """For a while no queue is bound to what is asked for; meanwhile an order is cancelled."""
    stage.deadline(30)
    _, worker = await stage.ready(stage.spawn("api"), stage.spawn("worker"))
    cancelled = await stage.create("ada")
    await stage.create("bob")
    await eventually(lambda: published(worker, "order.created") >= 2)
    await stage.gateway.cancel("ada", cancelled)
    await eventually(lambda: published(worker, "order.created") >= 4 or published(worker, "order.cancelled"))
    await stage.enter_cast()


def published(worker: Running, kind: str) -> float:
    """How often a worker has published events of a type."""
    return worker.metric("order_service_relay_messages_total", type=kind, result="published")


async def the_broker_refuses(stage: Stage) -> None:
    """The stock service is away and its queue is full: the broker refuses what goes there."""
    stage.deadline(30)
    queue, management = "product_service_order_created_queue", stage.platform.management
    async with stage.platform.broker() as channel:
        exchange = await channel.declare_exchange("orders_exchange", ExchangeType.FANOUT, durable=True)
        await (await channel.declare_queue(queue, durable=True)).bind(exchange)
    full = {"pattern": queue, "apply-to": "queues", "definition": {"max-length": 0, "overflow": "reject-publish"}}
    management.call("PUT", f"policies/{management.name}/full", full)
    _, worker = await stage.ready(stage.spawn("api"), stage.spawn("worker"))
    await stage.create("ada")
    # Once for the publication, once for what the broker made of it.
    await eventually(lambda: worker.metric("order_service_relay_messages_total") >= 2)
    management.call("DELETE", f"policies/{management.name}/full")
    await stage.enter_cast()


async def a_stopped_relay_wakes(stage: Stage) -> None:
    """A worker stands still until another has taken over, and wakes."""
    stage.most_repeats = 0
    stage.deadline(4)
    await stage.enter_cast()
    _, first = await stage.ready(stage.spawn("api"), stage.spawn("worker"))
    ((owner,),) = await eventually(lambda: stage.platform.query("select owner from order_service.relays"))
    await eventually(lambda: _leases_of(stage, owner, 64))
    first.process.send_signal(signal.SIGSTOP)
    await stage.start("worker")
    taken = "select 1 from order_service.relay_leases where owner <> %s having count(*) = 64"
    await eventually(lambda: stage.platform.query(taken, owner))
    first.process.send_signal(signal.SIGCONT)
    await eventually(lambda: _leases_of(stage, owner, 32))
    await eventually(lambda: first.metric("order_service_broker_connected", role="relay"))
    for wave in range(4):
        await asyncio.gather(*[stage.create(f"user-{wave}-{number}") for number in range(25)])


async def _leases_of(stage: Stage, owner: UUID, count: int) -> bool:
    """Whether a relay holds so many of the 64 buckets."""
    rows = await stage.platform.query("select 1 from order_service.relay_leases where owner = %s", owner)
    return len(rows) == count


async def killed_before_the_commit(stage: Stage) -> None:
    """A worker is killed when it has a reply and its transaction has not committed."""
    cast = await stage.enter_cast()
    stage.deadline(4)
    _, worker = await stage.ready(stage.spawn("api"), stage.spawn("worker"))
    async with held_back(stage.platform, "inbox") as so_many_wait:
        order_id = await stage.create("ada")
        await eventually(lambda: so_many_wait(1))
        worker.kill()
    await stage.start("worker")
    await eventually(lambda: len(cast.recorder.types_of(order_id)) > 1, 8)


async def the_database_is_slow(stage: Stage) -> None:
    """A reply's transaction waits for longer than a statement may take."""
    await stage.enter_cast()
    stage.deadline(5)
    _, worker = await stage.ready(stage.spawn("api"), stage.spawn("worker", DATABASE_TIMEOUT="500ms"))
    async with held_back(stage.platform, "inbox") as so_many_wait:
        await stage.create("ada")
        await eventually(lambda: so_many_wait(1))
        await eventually(lambda: worker.log_lines("consumer.storage_unavailable"))


async def killed_between_two_batches(stage: Stage) -> None:
    """A worker is killed when it has acknowledged a reply and holds another that has had no effect yet."""
    cast = await stage.enter_cast()
    stage.deadline(5)
    _, worker = await stage.ready(stage.spawn("api"), stage.spawn("worker"))
    first, second = [await stage.create(user, "silent-tea") for user in ("ada", "bob")]
    await stage.asked_for_stock(first)
    await stage.asked_for_stock(second)
    lock = "select 1 from order_service.orders where order_id = %s for update"
    async with locked(stage.platform, lock, second):
        async with locked(stage.platform, lock, first):
            await stage.succeed(first)
            await eventually(lambda: waiting(stage.platform, 1))
            await stage.succeed(second)
            await eventually(lambda: _all_delivered(stage))
        await stage.has_status(first, "CONFIRMED")
        await eventually(lambda: waiting(stage.platform, 1))
        worker.kill()
    await stage.start("worker")
    await eventually(lambda: len(cast.recorder.types_of(second)) > 1, 8)


async def _all_delivered(stage: Stage) -> bool:
    """Whether the broker keeps no reply back any more."""
    async with stage.platform.broker() as channel:
        queue = await channel.declare_queue("order_service.stock_update_results", passive=True)
        return queue.declaration_result.message_count == 0


async def killed_while_storing(stage: Stage) -> None:
    """An api is killed, and its session with it, when an order is being stored, just before its event is."""
    await stage.enter_cast()
    api = await stage.start("api")
    async with held_back(stage.platform, "outbox") as so_many_wait:
        call = asyncio.create_task(stage.create("ada", seconds=8))
        await eventually(lambda: so_many_wait(1))
        api.kill()
        await end_sessions_of_apis(stage.platform)
    await stage.ready(stage.spawn("api"), stage.spawn("worker"))
    await call


async def the_answer_to_commit_is_lost(stage: Stage) -> None:
    """The connection to PostgreSQL ends when an order has committed, and before the api hears so."""
    stage.most_repeats = 0
    await stage.enter_cast()
    wire = await stage.wire()
    url = await wire.through(stage.platform.database_url, Protocol.POSTGRESQL)
    await stage.ready(stage.spawn("api", DATABASE_URL=url), stage.spawn("worker"))

    def plan(message: Message) -> Act:
        done = message.name == "CommandComplete" and message.raw.endswith(b"COMMIT\0")
        return Act.CUT if done and not wire.struck.is_set() else Act.PASS

    wire.arm(plan)
    await stage.gateway.create("ada", {"ok-tea": (2, 1999)})
    await asyncio.wait_for(wire.struck.wait(), 30)


async def a_cancellation_meets_a_reply(stage: Stage) -> None:
    """An order is cancelled at the very time at which its stock is confirmed."""
    stage.deadline(4)
    await stage.enter_cast()
    await stage.ready(stage.spawn("api"), stage.spawn("worker"))
    order_id = await stage.create("ada", "silent-tea")
    await stage.asked_for_stock(order_id)
    async with held_back(stage.platform, "sagas") as so_many_wait:
        await stage.succeed(order_id)
        await eventually(lambda: so_many_wait(1))
        cancelling = asyncio.create_task(stage.gateway.cancel("ada", order_id))
        await eventually(lambda: so_many_wait(2))
    await cancelling


async def an_order_commits_late(stage: Stage) -> None:
    """An order's transaction is under way while many others are stored and sent, and commits after them."""
    stage.deadline(8)
    await stage.enter_cast()
    claim = (
        "insert into order_service.create_requests (user_id, request_id, fingerprint, order_id)"
        " values ('ada', 'request-of-ada', '', %s)"
    )
    await stage.ready(stage.spawn("api"), stage.spawn("worker"))
    other = await stage.start("api", GRPC_PORT="0")
    async with Gateway.to(f"{LOOPBACK}:{other.ports['grpc']}") as gateway:
        stage.gateways.append(gateway)
        async with locked(stage.platform, claim, uuid4()):
            late = asyncio.create_task(gateway.create("ada", {"ok-tea": (2, 1999)}, "request-of-ada"))
            await eventually(lambda: waiting(stage.platform, 1))
            await asyncio.gather(*[stage.create(f"user-{number}") for number in range(3 * CROWD)])
            await eventually(lambda: _nothing_unsent(stage))
        await late


async def _nothing_unsent(stage: Stage) -> bool:
    return not await stage.platform.query("select 1 from order_service.outbox limit 1")
