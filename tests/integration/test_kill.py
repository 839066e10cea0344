"""Processes killed at random moments under load: every promise still holds when the dust has settled."""

import asyncio
import json
from typing import Any

from order_service.private_servers.ports import reserved_ports
from tests.integration.calls import an_order, failure_of
from tests.integration.held_back import end_sessions_of_apis, held_back
from tests.integration.load import Load, Sent, patient_gateway
from tests.integration.peers import Body, Recorder, StockService, no_answer, success
from tests.integration.platform import Platform, Running, gateway
from tests.integration.seeds import seeded
from tests.integration.tcp_proxy import TcpProxy
from tests.waiting import eventually

Rows = list[tuple[Any, ...]]

KILLS = 8
ORDERS_AFTER_EACH = 40


async def test_whatever_is_killed_and_whenever_no_promise_is_broken(platform: Platform) -> None:
    with seeded() as chance, reserved_ports(1) as (port,):
        async with (
            StockService.running(platform, sometimes_out_of_stock) as stock,
            Recorder.running(platform) as recorder,
            patient_gateway(port) as stub,
        ):
            processes = [await started_api(platform, port), await platform.start_worker()]
            processes.append(await platform.start_worker())
            load = Load(stub, "ada", per_second=200)
            async with load.placing():
                for _ in range(KILLS):
                    enough = len(load.acknowledged) + chance.randrange(ORDERS_AFTER_EACH)
                    await eventually(lambda enough=enough: len(load.acknowledged) > enough)  # type: ignore[misc]
                    place = chance.randrange(len(processes))
                    processes[place] = await killed_and_restarted(platform, processes[place], port)
            await eventually(lambda: all_settled(platform))
            await eventually(lambda: len(recorder.sent().histories()) == len(load.acknowledged))
            await eventually(lambda: recorder.sent().are_settled())
            rows = await stored(platform)

        check(load, recorder.sent(), stock, rows)
        assert errors_in(platform) == []


def check(load: Load, events: Sent, stock: StockService, rows: Rows) -> None:
    """Everything that was promised, against what everybody knows."""
    events.assert_in_version_order()
    histories = {order_id: tuple(kind for _, kind in history) for order_id, history in events.histories().items()}
    assert set(histories.values()) <= {("order.created", "order.confirmed"), ("order.created", "order.cancelled")}
    assert {order_id for order_id, *_ in rows} == set(load.acknowledged.values()) == histories.keys()
    assert len(set(load.acknowledged.values())) == len(load.acknowledged) >= KILLS
    assert all(versions == [1, 2] for *_, versions in rows)
    confirmed = {order_id for order_id, status, _ in rows if status == "CONFIRMED"}
    assert held_by(stock) == confirmed
    assert confirmed == {order_id for order_id, kinds in histories.items() if kinds[-1] == "order.confirmed"}


async def test_killed_with_its_session_while_the_order_is_stored_nothing_of_it_is(platform: Platform) -> None:
    before, after, order_id = await killed_while_storing(platform, with_its_session=True)

    assert before == []
    assert after == [(order_id, "PENDING", [1])]


async def test_killed_alone_while_the_order_is_stored_it_is_stored_whole_or_not_at_all(platform: Platform) -> None:
    before, after, order_id = await killed_while_storing(platform, with_its_session=False)

    assert before in ([], after)
    assert after == [(order_id, "PENDING", [1])]


async def test_killed_before_the_broker_has_the_event_it_is_sent_by_another(platform: Platform) -> None:
    async with TcpProxy.to(platform.rabbitmq_url) as (proxy, url):
        api, worker = await platform.start_both(RABBITMQ_URL=url)
        async with Recorder.running(platform) as recorder, gateway(api) as stub:
            proxy.freeze()
            order_id = (await stub.CreateOrder(an_order())).order.id
            await eventually(lambda: worker.metric("order_service_relay_messages_total", result="published"))
            worker.kill()
            await proxy.cut()
            await platform.start_worker()
            await eventually(lambda: all_sent(platform))
            await eventually(lambda: recorder.messages)

    assert recorder.types_of(order_id) == ["order.created"]


async def test_killed_between_the_confirm_and_the_mark_the_event_comes_again_under_its_id(platform: Platform) -> None:
    api, worker = await platform.start_both()

    async with Recorder.running(platform) as recorder, gateway(api) as stub:
        async with held_back(platform, "event_confirmations") as waiting:
            order_id = (await stub.CreateOrder(an_order())).order.id
            await eventually(lambda: waiting(1))
            worker.kill()
        await platform.start_worker()
        await eventually(lambda: len(recorder.messages) == 2)
        await eventually(lambda: all_sent(platform))

    first, second = recorder.of_order(order_id)
    assert first == second


async def test_killed_before_the_reply_is_applied_it_is_applied_by_another(platform: Platform) -> None:
    api, worker = await platform.start_both()

    async with StockService.running(platform, success), Recorder.running(platform) as recorder, gateway(api) as stub:
        async with held_back(platform, "inbox") as waiting:
            order_id = (await stub.CreateOrder(an_order())).order.id
            await eventually(lambda: waiting(1))
            # The reply may come before order.created is marked, which would then be sent again.
            await eventually(lambda: all_sent(platform))
            worker.kill()
        await platform.start_worker()
        await eventually(lambda: len(recorder.types_of(order_id)) == 2)

    assert recorder.types_of(order_id) == ["order.created", "order.confirmed"]


async def test_killed_between_the_commit_and_the_acknowledgement_the_reply_has_its_effect_once(
    platform: Platform,
) -> None:
    async with TcpProxy.to(platform.rabbitmq_url) as (proxy, url):
        api = await platform.start_api()
        await platform.start_worker("--only", "relay")
        consumer = await platform.start_worker("--only", "consumer", RABBITMQ_URL=url)
        async with (
            StockService.running(platform, no_answer) as stock,
            Recorder.running(platform) as recorder,
            gateway(api) as stub,
        ):
            order_id = (await stub.CreateOrder(an_order())).order.id
            proxy.freeze(answers=False)
            await stock.reply({"order_id": order_id, "success": True})
            await eventually(lambda: recorder.types_of(order_id) == ["order.created", "order.confirmed"])
            consumer.kill()
            await proxy.cut()
            other = await platform.start_worker("--only", "consumer")
            await eventually(lambda: other.metric("order_service_replies_total", outcome="duplicate") == 1)
            (order,) = await stored(platform)

    assert order == (order_id, "CONFIRMED", [1, 2])


def sometimes_out_of_stock(created: Body) -> Body:
    """By the order alone, so that a duplicate gets the same answer."""
    return {"order_id": created["order_id"], "success": created["items"][0]["product_id"] != "product-3"}


def held_by(stock: StockService) -> set[str]:
    """The orders for which stock is held, after duplicates of OrderCreated are taken for what they are."""
    asked = {message.message_id: json.loads(message.body) for message in stock.messages}
    taken = [body["order_id"] for body in asked.values() if sometimes_out_of_stock(body)["success"]]
    assert len(taken) == len(set(taken))
    return set(taken) - {body["order_id"] for body in stock.undone}


async def killed_and_restarted(platform: Platform, process: Running, port: int) -> Running:
    """SIGKILL, and a new process of the same kind at once."""
    process.kill()
    if process.command == "api":
        return await started_api(platform, port)
    return await platform.start_worker()


async def started_api(platform: Platform, port: int) -> Running:
    """With a deadline that no order reaches, however slow the machine: each outcome is the stock service's."""
    return await platform.start_api(GRPC_PORT=str(port), SAGA_STOCK_TIMEOUT="1h")


async def all_settled(platform: Platform) -> bool:
    """Whether no order waits and nothing is left to send, to retry or to look at."""
    (counts,) = await platform.query(
        "select (select count(*) from order_service.orders where status = 'PENDING'),"
        " (select count(*) from order_service.outbox), (select count(*) from order_service.parked_messages)"
    )
    return counts == (0, 0, 0)


async def all_sent(platform: Platform) -> bool:
    """Whether the outbox is empty."""
    return not await platform.query("select 1 from order_service.outbox limit 1")


async def killed_while_storing(platform: Platform, with_its_session: bool) -> tuple[Rows, Rows, str]:
    """Kills an api while PostgreSQL lets its order wait; what is stored once nobody waits any more, what is when the
    caller has asked another api again, and the order's id."""
    request = an_order(request_id="once")
    with reserved_ports(1) as (port,):
        api = await platform.start_api(GRPC_PORT=str(port))
        async with patient_gateway(port) as stub:
            async with held_back(platform) as waiting:
                call = asyncio.ensure_future(failure_of(stub.CreateOrder(request)))
                await eventually(lambda: waiting(1))
                api.kill()
                if with_its_session:
                    await end_sessions_of_apis(platform)
                await call
            await eventually(lambda: nobody_waits(platform))
            before = await stored(platform)
            await platform.start_api(GRPC_PORT=str(port))
            order = (await stub.CreateOrder(request, wait_for_ready=True)).order
            return before, await stored(platform), order.id


async def nobody_waits(platform: Platform) -> bool:
    """Whether no transaction of a process is left over."""
    return not await platform.query(
        "select 1 from pg_stat_activity where datname = current_database() and application_name = 'order-service api'"
    )


async def stored(platform: Platform) -> Rows:
    """Each order, its status, and the versions of its history."""
    return await platform.query(
        "select o.order_id::text, o.status, (select array_agg(e.version order by e.version)"
        " from order_service.order_events e where e.order_id = o.order_id) from order_service.orders o"
    )


def errors_in(platform: Platform) -> list[dict[str, Any]]:
    """What any process logged as an error."""
    return [
        line for running in platform.started for line in running.log_lines() if line["level"] in ("error", "critical")
    ]
