"""The proxy itself, between real clients and real servers: it is exact, or every figure of the rig is worthless."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

import aio_pika
import grpc
import psycopg
import pytest

from order_service.pb import order_pb2_grpc
from tests.faults.wire import Act, Direction, FramingError, Message, Plan, Protocol, Wire
from tests.integration.calls import an_order
from tests.integration.platform import Platform, gateway
from tests.integration.tcp_proxy import TcpProxy
from tests.waiting import eventually


class Watched:
    """A plan that writes down what it was asked about, and does one thing to one message."""

    def __init__(self, number: int = 0, act: Act = Act.PASS) -> None:
        self.messages: list[Message] = []
        self._number, self._act = number, act

    def __call__(self, message: Message) -> Act:
        self.messages.append(message)
        return self._act if message.number == self._number else Act.PASS

    def names(self, direction: Direction) -> list[str]:
        return [message.name for message in self.messages if message.direction is direction]


@asynccontextmanager
async def connected(wire: Wire, platform: Platform) -> AsyncIterator[psycopg.AsyncConnection]:
    """A client of PostgreSQL behind a wire, warm: the next message is that of the next query."""
    url = await wire.through(platform.database_url, Protocol.POSTGRESQL)
    connection = await psycopg.AsyncConnection.connect(url, autocommit=True)
    try:
        yield connection
    finally:
        with suppress(psycopg.Error):
            await connection.close()


def once(number: int, act: Act) -> Plan:
    return lambda message: act if message.number == number else Act.PASS


async def test_every_message_of_a_query_is_seen_one_by_one(platform: Platform) -> None:
    plan = Watched()

    async with Wire.between() as wire, connected(wire, platform) as connection:
        wire.arm(plan)
        rows = await (await connection.execute("select n from generate_series(1, 2) n where n > %s", (0,))).fetchall()

    assert rows == [(1,), (2,)]
    seen = [message for message in plan.messages if message.name != "Terminate"]
    assert [message.name for message in seen if message.direction is Direction.TO_SERVER] == [
        "Parse", "Bind", "Describe", "Execute", "Sync",
    ]  # fmt: skip
    assert [message.name for message in seen if message.direction is Direction.TO_CLIENT] == [
        "ParseComplete", "BindComplete", "RowDescription", "DataRow", "DataRow", "CommandComplete", "ReadyForQuery",
    ]  # fmt: skip
    assert [message.number for message in seen] == list(range(1, 13))


async def test_the_start_of_a_connection_is_understood(platform: Platform) -> None:
    plan = Watched()

    async with Wire.between() as wire:
        wire.arm(plan)
        async with connected(wire, platform):
            pass

    sent, got = plan.names(Direction.TO_SERVER), plan.names(Direction.TO_CLIENT)
    assert sent[:2] == ["SSLRequest", "Startup"]
    assert got[:2] == ["EncryptionRefused", "Authentication"]
    assert got[-2:] == ["BackendKeyData", "ReadyForQuery"]


@pytest.mark.parametrize("number", range(1, 8))
@pytest.mark.parametrize("act", [Act.STRIKE_BEFORE, Act.STRIKE_AFTER])
async def test_a_strike_lets_exactly_the_messages_before_it_through(platform: Platform, number: int, act: Act) -> None:
    """Each insert is one message, sent with seven others in one segment; each commits by itself."""
    await platform.query("create table struck (n int)")
    strikes: list[int] = []

    async with Wire.between() as wire, connected(wire, platform) as connection:
        wire.arm(once(number, act), lambda: strikes.append(number))
        sock = connection.pgconn.socket
        queries = [f"insert into struck values ({n})\0".encode() for n in range(1, 9)]
        segment = b"".join(b"Q" + (len(query) + 4).to_bytes(4) + query for query in queries)
        with socket.socket(fileno=os.dup(sock)) as same:
            same.sendall(segment)
        await asyncio.wait_for(wire.struck.wait(), 30)
        await eventually(lambda: nobody_else_is_connected(platform))
        (rows,) = await platform.query("select array_agg(n order by n) from struck")

    delivered = [n for n in range(1, 9) if n < number + (act is Act.STRIKE_AFTER)]
    assert strikes == [number]
    assert (rows[0] or []) == delivered


async def test_after_a_strike_new_connections_pass(platform: Platform) -> None:
    async with Wire.between() as wire, connected(wire, platform) as connection:
        wire.arm(once(1, Act.STRIKE_BEFORE))
        with pytest.raises(psycopg.OperationalError):
            await connection.execute("select 1")
        async with connected(wire, platform) as another:
            row = await (await another.execute("select 1")).fetchone()

    assert row == (1,)
    assert wire.message is not None
    assert wire.message.name == "Query"


async def test_a_cut_reply_leaves_what_was_done_done(platform: Platform) -> None:
    await platform.query("create table done (n int)")

    def cut_the_reply(message: Message) -> Act:
        return Act.CUT if message.name == "CommandComplete" else Act.PASS

    async with Wire.between() as wire, connected(wire, platform) as connection, connected(wire, platform) as other:
        wire.arm(cut_the_reply)
        with pytest.raises(psycopg.OperationalError):
            await connection.execute("insert into done values (1)")
        wire.disarm()
        rows = await (await other.execute("select n from done")).fetchall()

    assert rows == [(1,)]


async def test_what_hangs_neither_passes_nor_ends_while_others_go_on(platform: Platform) -> None:
    async with Wire.between() as wire, connected(wire, platform) as connection, connected(wire, platform) as other:
        wire.arm(once(1, Act.HANG))
        waiting = asyncio.ensure_future(connection.execute("select 1"))
        await asyncio.wait_for(wire.struck.wait(), 30)
        for _ in range(20):
            await other.execute("select 2")
        still_waiting = not waiting.done()
        wire.arm(once(0, Act.PASS))
        with pytest.raises(psycopg.OperationalError):
            await waiting

    assert still_waiting


async def test_a_broker_and_its_client_are_understood(platform: Platform) -> None:
    plan = Watched()

    async with Wire.between() as wire:
        url = await wire.through(platform.rabbitmq_url, Protocol.AMQP)
        wire.arm(plan)
        async with await aio_pika.connect(url) as connection, connection.channel() as channel:
            queue = await channel.declare_queue(exclusive=True)
            await channel.default_exchange.publish(aio_pika.Message(b"x" * 300_000), queue.name)
            message = await queue.get(timeout=30)
            assert message is not None
            await message.ack()

    sent, got = plan.names(Direction.TO_SERVER), plan.names(Direction.TO_CLIENT)
    assert message.body == b"x" * 300_000
    assert sent[:3] == ["ProtocolHeader", "Connection.StartOk", "Connection.TuneOk"]
    assert got[:2] == ["Connection.Start", "Connection.Tune"]
    publish = sent.index("Basic.Publish")
    assert sent[publish : publish + 4] == ["Basic.Publish", "Header", "Body", "Body"]
    assert {"Basic.Ack", "Basic.GetOk", "Header", "Body"} <= set(got)


async def test_a_lost_confirm_is_of_a_message_that_the_broker_has(platform: Platform) -> None:
    async with Wire.between() as wire, platform.broker() as direct:
        queue = await direct.declare_queue("kept")
        url = await wire.through(platform.rabbitmq_url, Protocol.AMQP)
        wire.arm(lambda message: Act.CUT if message.name == "Basic.Ack" else Act.PASS)
        connection = await aio_pika.connect(url)
        channel = await connection.channel()
        with pytest.raises((*aio_pika.exceptions.CONNECTION_EXCEPTIONS, asyncio.CancelledError)):
            await channel.default_exchange.publish(aio_pika.Message(b"kept"), "kept")
        await connection.close()
        message = await queue.get(timeout=30)

    assert message is not None
    assert message.body == b"kept"


async def test_calls_are_understood_and_a_lost_answer_is_of_an_order_that_was_stored(platform: Platform) -> None:
    api = await platform.start_api()
    plan = Watched()

    async with Wire.between() as wire:
        led = await wire.through(f"127.0.0.1:{api.ports['grpc']}", Protocol.GRPC)
        async with grpc.aio.insecure_channel(led) as channel:
            stub = order_pb2_grpc.OrderServiceStub(channel)
            wire.arm(plan)
            answered = (await stub.CreateOrder(an_order("seen", request_id="first"))).order
            wire.arm(lambda one: Act.CUT if (one.name, one.direction) == ("DATA", Direction.TO_CLIENT) else Act.PASS)
            with pytest.raises(grpc.aio.AioRpcError):
                await stub.CreateOrder(an_order("unseen", request_id="second"))
            wire.disarm()
        # On a channel of its own: a call on the other one may still go out over the connection that has ended.
        async with gateway(api) as stub:
            repeated = (await stub.CreateOrder(an_order("unseen", request_id="second"))).order
        rows = await platform.query("select order_id::text from order_service.orders order by order_id")

    assert plan.names(Direction.TO_SERVER)[0] == "Preface"
    assert {"SETTINGS", "HEADERS", "DATA"} <= set(plan.names(Direction.TO_SERVER)) & set(
        plan.names(Direction.TO_CLIENT)
    )
    assert [row[0] for row in rows] == [answered.id, repeated.id]


async def test_several_servers_share_one_numbering(platform: Platform) -> None:
    plan = Watched()

    async with Wire.between() as wire, connected(wire, platform) as connection:
        url = await wire.through(platform.rabbitmq_url, Protocol.AMQP)
        wire.arm(plan)
        await connection.execute("select 1")
        async with await aio_pika.connect(url):
            pass
        await connection.execute("select 2")

    assert [message.number for message in plan.messages] == list(range(1, len(plan.messages) + 1))
    assert {message.protocol for message in plan.messages} == {Protocol.POSTGRESQL, Protocol.AMQP}
    assert wire.passed == len(plan.messages)


async def test_bytes_that_are_no_messages_are_told_and_not_guessed_at(platform: Platform) -> None:
    async def send_something_else() -> None:
        async with Wire.between() as wire:
            parts = urlsplit(await wire.through(platform.database_url, Protocol.GRPC))
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
            writer.write(b"GET / HTTP/1.1\r\nHost: nobody\r\n\r\n")
            await reader.read()
            writer.close()

    with pytest.raises(FramingError):
        await send_something_else()


async def test_a_server_that_is_away_looks_as_it_is(platform: Platform) -> None:
    async with TcpProxy.to(platform.database_url) as (away, url), Wire.between() as wire:
        await away.cut()
        led = await wire.through(url, Protocol.POSTGRESQL)
        with pytest.raises(psycopg.OperationalError):
            await psycopg.AsyncConnection.connect(led)


async def nobody_else_is_connected(platform: Platform) -> bool:
    """Whether the struck client's session has ended."""
    (row,) = await platform.query("select count(*) from pg_stat_activity where datname = current_database()")
    return row == (1,)
