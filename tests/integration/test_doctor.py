"""The command line: what the promise rests on is looked at on live servers, and what is missing is named."""

import functools
import os
import secrets
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

import psycopg
import pytest
from psycopg.sql import SQL, Identifier, Literal

from order_service.private_servers.postgresql import private_postgresql
from order_service.private_servers.rabbitmq import Broker, private_rabbitmq
from tests.integration.commands import Ended, run, succeed
from tests.integration.peers import Source, StockService, bound_queue, success
from tests.integration.platform import Platform, Servers, prepare_template
from tests.integration.tcp_proxy import TcpProxy
from tests.waiting import eventually

OWN = "order_service.stock_update_results"
PRIVATE = Path("build/servers").absolute()
PATH = os.environ.get("PATH", os.defpath)
NOT_DURABLE = {"PostgreSQL: fsync", "PostgreSQL: full_page_writes"}
"""What the servers of the tests lack on purpose."""
RIGHTS = """
    grant usage on schema order_service to {role};
    grant select on order_service.schema_migrations to {role};
    grant select, insert, update on order_service.orders, order_service.sagas to {role};
    grant select, insert on order_service.order_items, order_service.order_events, order_service.event_confirmations
        to {role};
    grant select, insert, delete on order_service.create_requests, order_service.inbox to {role};
    grant select, update on order_service.relay_leases to {role};
    grant select, insert, update, delete
        on order_service.outbox, order_service.relays, order_service.parked_messages to {role};
    grant execute on function order_service.ensure_partitions(integer) to {role};
"""


@pytest.fixture
def role(platform: Platform) -> Iterator[str]:
    """A role with the rights that the service needs, and no more."""
    with a_role(platform.database_url) as (name, url):
        platform.database_url, owner = url, platform.database_url
        yield name
        platform.database_url = owner


@contextmanager
def a_role(database_url: str) -> Iterator[tuple[str, str]]:
    name, password = f"r_{secrets.token_hex(6)}", secrets.token_hex(12)
    parts = urlsplit(database_url)
    host = parts.netloc.rpartition("@")[2]
    with psycopg.connect(database_url, autocommit=True) as owner:
        owner.execute(SQL("create role {} login password {}").format(Identifier(name), Literal(password)))
        owner.execute(SQL(RIGHTS).format(role=Identifier(name)))
        try:
            yield name, urlunsplit(parts._replace(netloc=f"{name}:{password}@{host}"))
        finally:
            owner.execute(SQL("drop owned by {}").format(Identifier(name)))
            owner.execute(SQL("drop role {}").format(Identifier(name)))


def as_owner(servers: Servers, platform: Platform, statement: str) -> None:
    """Runs a statement in the test's database with the rights of the role that migrated."""
    database = urlsplit(platform.database_url).path
    with psycopg.connect(urlunsplit(urlsplit(servers.database_url)._replace(path=database)), autocommit=True) as owner:
        owner.execute(statement.encode())


async def examined(platform: Platform, servers: Servers, **changes: str) -> Ended:
    environment = platform.environment(**{"RABBITMQ_MANAGEMENT_URL": servers.management_url, **changes})
    return await run(environment, "doctor", "--json")


def verdicts(done: Ended) -> Mapping[str, str]:
    return {f"{one['server']}: {one['check']}": one["verdict"] for one in done.json["checks"]}


def missing(done: Ended) -> set[str]:
    return set(done.json["missing"]) - NOT_DURABLE


@pytest.fixture
async def healthy(platform: Platform, role: str) -> Platform:
    """A worker that runs with just the rights it needs, and a stock service's queue."""
    await platform.start_worker()
    async with platform.broker() as channel:
        await bound_queue(channel, StockService.asks)
    return platform


async def test_only_what_is_missing_is_named(healthy: Platform, servers: Servers) -> None:
    done = await examined(healthy, servers)

    assert (done.code, done.errors) == (1, "")
    assert set(done.json["missing"]) == NOT_DURABLE
    assert (done.json["ok"], done.json["reached"]) == (False, True)
    assert verdicts(done)["PostgreSQL: synchronous_standby_names"] == "advice"
    assert verdicts(done)["RabbitMQ: nodes"] == "advice"
    assert verdicts(done)["PostgreSQL: role"] == "ok"
    assert all(one["how"] for one in done.json["checks"] if one["verdict"] != "ok")


async def test_a_role_with_the_rights_that_are_wanted_carries_orders(healthy: Platform, user: str) -> None:
    environment = healthy.environment()
    api = await healthy.start_api()
    async with StockService.running(healthy, success):
        placed = await run(
            {**environment, "GRPC_PORT": str(api.ports["grpc"])},
            "place", "--user", user, "--item", "tea:1:1.00", "--wait",
            "--target", f"127.0.0.1:{api.ports['grpc']}",
        )  # fmt: skip

    assert placed.code == 0, placed.errors


async def test_people_get_a_table_and_how_to_mend_each(healthy: Platform, servers: Servers) -> None:
    done = await run(healthy.environment(RABBITMQ_MANAGEMENT_URL=servers.management_url), "doctor")

    assert done.code == 1
    assert done.output.splitlines()[0].split() == ["VERDICT", "SERVER", "CHECK", "FOUND", "WANTED"]
    assert "  PostgreSQL, fsync: alter system set fsync = on" in done.output
    assert done.errors.startswith("2 missing, ")


async def test_no_password_is_ever_shown(healthy: Platform, servers: Servers) -> None:
    environment = healthy.environment(RABBITMQ_MANAGEMENT_URL=servers.management_url)
    table, machine = await run(environment, "doctor"), await run(environment, "doctor", "--json")

    shown = table.output + table.errors + machine.output + machine.errors
    for url in (healthy.database_url, healthy.rabbitmq_url, servers.management_url):
        assert (urlsplit(url).password or "none") not in shown


async def test_synchronous_commit_that_is_off_for_the_role_is_named(
    healthy: Platform, servers: Servers, role: str
) -> None:
    as_owner(servers, healthy, f"alter role {role} set synchronous_commit = off")

    done = await examined(healthy, servers)

    assert missing(done) == {"PostgreSQL: synchronous_commit"}
    (found,) = [one for one in done.json["checks"] if one["check"] == "synchronous_commit"]
    assert (found["found"], found["how"].split(" (")[0]) == (
        "off (user)",
        f"alter role {role} reset synchronous_commit",
    )


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("revoke insert on order_service.outbox from {role}", "rights on tables"),
        ("revoke execute on function order_service.ensure_partitions(integer) from {role}", "right to make partitions"),
        ("delete from order_service.schema_migrations", "schema"),
        ("update order_service.schema_migrations set checksum = 'other'", "schema"),
        (
            "do $$ begin execute format('drop table order_service.%I', to_char("
            "date_trunc('month', now() at time zone 'UTC') + interval '1 month', '\"order_events_\"YYYY_MM')); end $$",
            "partitions of this month and the next",
        ),
        ("alter database {database} set synchronous_commit = local", "synchronous_commit"),
    ],
)
async def test_a_fault_in_the_database_is_named(
    healthy: Platform, servers: Servers, role: str, statement: str, named: str
) -> None:
    as_owner(
        servers,
        healthy,
        statement.replace("{role}", role).replace("{database}", urlsplit(healthy.database_url).path[1:]),
    )

    done = await examined(healthy, servers)

    assert (done.code, missing(done)) == (1, {f"PostgreSQL: {named}"})


async def test_several_hosts_need_to_be_told_apart(healthy: Platform, servers: Servers) -> None:
    parts = urlsplit(healthy.database_url)
    twice = urlunsplit(parts._replace(netloc=f"{parts.netloc},{parts.hostname}:{parts.port}"))

    unsaid = await examined(healthy, servers, DATABASE_URL=twice)
    said = await examined(healthy, servers, DATABASE_URL=f"{twice}?target_session_attrs=read-write")

    assert missing(unsaid) == {"PostgreSQL: target_session_attrs"}
    assert missing(said) == set()


async def test_a_schema_that_was_never_migrated_is_named(healthy: Platform, servers: Servers) -> None:
    as_owner(servers, healthy, "drop schema order_service cascade")

    done = await examined(healthy, servers)

    assert {"PostgreSQL: schema", "PostgreSQL: rights on tables"} <= missing(done)


async def test_a_transaction_that_is_open_for_long_is_advised_about_once_it_may_be_seen(
    healthy: Platform, servers: Servers, role: str
) -> None:
    unseen = await examined(healthy, servers)
    as_owner(servers, healthy, f"grant pg_monitor to {role}")
    seen = await examined(healthy, servers)

    assert verdicts(unseen)["PostgreSQL: oldest transaction"] == "not checked"
    assert verdicts(seen)["PostgreSQL: oldest transaction"] in ("ok", "advice")


async def test_a_classic_queue_in_our_queues_place_is_named(healthy: Platform, servers: Servers) -> None:
    for worker in healthy.started:
        worker.stop()
    healthy.management.delete_queue(OWN)
    async with healthy.broker() as channel:
        await bound_queue(channel, Source(OWN, "stock_update_exchange", "fanout"))

    done = await examined(healthy, servers)

    assert missing(done) == {f"RabbitMQ: type of {OWN}"}
    assert verdicts(done)[f"RabbitMQ: consumers of {OWN}"] == "advice"


@pytest.mark.parametrize(
    ("definition", "named"),
    [
        ({"max-length": 10}, f"limits of {OWN}"),
        ({"max-length-bytes": 10_000}, f"limits of {OWN}"),
        ({"expires": 3_600_000}, f"limits of {OWN}"),
        ({"delivery-limit": 20}, f"delivery-limit of {OWN}"),
    ],
)
async def test_a_policy_that_drops_messages_is_named(
    healthy: Platform, servers: Servers, definition: dict[str, Any], named: str
) -> None:
    policy = {"pattern": f"^{OWN}$", "definition": definition, "apply-to": "queues"}
    healthy.management.call("PUT", f"policies/{healthy.management.name}/drops", policy)

    async def is_named() -> bool:
        return missing(await examined(healthy, servers)) == {f"RabbitMQ: {named}"}

    await eventually(is_named)


async def test_a_limit_on_the_stock_services_queue_is_advised_about(healthy: Platform, servers: Servers) -> None:
    policy = {"pattern": "^product_service", "definition": {"max-length": 10}, "apply-to": "queues"}
    healthy.management.call("PUT", f"policies/{healthy.management.name}/drops", policy)

    async def is_advised() -> bool:
        return verdicts(await examined(healthy, servers))["RabbitMQ: limits of peers' queues"] == "advice"

    await eventually(is_advised)


async def test_an_exchange_without_the_stock_services_queue_is_named(healthy: Platform, servers: Servers) -> None:
    healthy.management.delete_queue(StockService.asks.queue)

    done = await examined(healthy, servers)

    assert missing(done) == {"RabbitMQ: queues on orders_exchange"}


async def test_our_queue_that_is_not_bound_is_named(healthy: Platform, servers: Servers) -> None:
    for worker in healthy.started:
        worker.stop()
    async with healthy.broker() as channel:
        queue = await channel.get_queue(OWN)
        await queue.unbind("stock_update_exchange", "")

    done = await examined(healthy, servers)

    assert missing(done) == {"RabbitMQ: bindings"}


async def test_what_no_worker_has_declared_yet_is_named(platform: Platform, servers: Servers, role: str) -> None:
    done = await examined(platform, servers)

    assert {"RabbitMQ: exchanges", f"RabbitMQ: queue {OWN}", "RabbitMQ: bindings"} <= missing(done)


async def test_an_exchange_of_another_type_is_named(platform: Platform, servers: Servers, role: str) -> None:
    async with platform.broker() as channel:
        await channel.declare_exchange("orders_exchange", "direct", durable=True)

    done = await examined(platform, servers)

    assert "RabbitMQ: types of exchanges" in missing(done)


async def test_a_user_who_may_not_read_our_queue_is_named(healthy: Platform, servers: Servers) -> None:
    name, password, vhost = f"u_{secrets.token_hex(4)}", secrets.token_hex(8), healthy.management.name
    healthy.management.call("PUT", f"users/{name}", {"password": password, "tags": ""})
    rights = {"configure": ".*", "write": ".*", "read": "^order[.]events$|_exchange$"}
    healthy.management.call("PUT", f"permissions/{vhost}/{name}", rights)
    parts = urlsplit(healthy.rabbitmq_url)
    url = urlunsplit(parts._replace(netloc=f"{name}:{password}@{parts.hostname}:{parts.port}"))

    done = await examined(healthy, servers, RABBITMQ_URL=url)
    healthy.management.call("DELETE", f"users/{quote(name)}")

    assert missing(done) == {"RabbitMQ: permissions"}
    assert password not in done.output


async def test_the_old_queue_is_pointed_out(healthy: Platform, servers: Servers) -> None:
    async with healthy.broker() as channel:
        await bound_queue(channel, Source("order_service_stock_update_queue", "stock_update_exchange", "fanout"))

    done = await examined(healthy, servers)

    assert (missing(done), verdicts(done)["RabbitMQ: queue of the service before"]) == (set(), "advice")


async def test_without_the_management_api_what_amqp_cannot_tell_is_not_checked(healthy: Platform) -> None:
    done = await run(healthy.environment(), "doctor", "--json")

    unchecked = [one for one in done.json["checks"] if one["verdict"] == "not checked" and one["server"] == "RabbitMQ"]
    assert {one["check"] for one in unchecked} >= {"alarms", "bindings", "permissions", "members of our queues"}
    assert all("RABBITMQ_MANAGEMENT_URL" in one["how"] for one in unchecked)


@pytest.mark.parametrize("variable", ["DATABASE_URL", "RABBITMQ_URL", "RABBITMQ_MANAGEMENT_URL"])
async def test_a_server_that_cannot_be_reached_is_exit_code_3_and_the_others_are_checked(
    healthy: Platform, servers: Servers, variable: str
) -> None:
    urls = {**healthy.environment(), "RABBITMQ_MANAGEMENT_URL": servers.management_url}
    async with TcpProxy.to(urls[variable]) as (proxy, url):
        await proxy.cut()

        done = await examined(healthy, servers, **{variable: url})

    assert (done.code, done.json["reached"]) == (3, False)
    assert len(done.json["checks"]) > 5


async def test_a_password_that_the_management_api_refuses_is_told(healthy: Platform, servers: Servers) -> None:
    wrong = servers.management_url.replace(urlsplit(servers.management_url).password or "", "wrong")

    done = await run(healthy.environment(RABBITMQ_MANAGEMENT_URL=wrong), "doctor", "--json")

    assert (done.code, verdicts(done)["RabbitMQ: alarms"]) == (3, "not checked")


@pytest.fixture(scope="module")
def own_broker() -> Iterator[Broker]:
    """A RabbitMQ on which a test may raise an alarm."""
    with private_rabbitmq(PRIVATE, search_path=PATH, management=True, say=lambda _: None) as broker:
        broker.wait_until_ready()
        yield broker


@pytest.fixture
def own_platform(own_broker: Broker, tmp_path: Path) -> Iterator[Platform]:
    """A platform whose PostgreSQL is as durable as the demo's."""
    with private_postgresql(PRIVATE, search_path=PATH, durable=True, say=lambda _: None) as database_url:
        prepare_template(database_url)
        servers = Servers(database_url, own_broker.url, own_broker.management_url or "")
        with Platform.make(servers, tmp_path) as platform:
            yield platform


async def test_servers_of_its_own_lack_nothing_until_memory_runs_out(
    own_platform: Platform, own_broker: Broker
) -> None:
    environment = own_platform.environment(RABBITMQ_MANAGEMENT_URL=own_broker.management_url or "")
    await own_platform.start_worker()
    async with own_platform.broker() as channel:
        await bound_queue(channel, StockService.asks)

    well = await succeed(environment, "doctor", "--json")
    control(own_broker, "set_vm_memory_high_watermark", "0.000001")
    await eventually(functools.partial(is_alarmed, environment))
    control(own_broker, "set_vm_memory_high_watermark", "0.4")

    assert (well.json["ok"], well.json["missing"]) == (True, [])


async def is_alarmed(environment: Mapping[str, str]) -> bool:
    done = await run(environment, "doctor", "--json")
    return bool(done.json["missing"] == ["RabbitMQ: alarms"] and done.code == 1)


def control(broker: Broker, *arguments: str) -> None:
    """`rabbitmqctl ARGUMENTS` on a private node."""
    program = Path("/usr/lib/rabbitmq/bin/rabbitmqctl")
    environment = broker.node.environ(PATH)
    subprocess.run([program, *arguments], env=environment, check=True, capture_output=True, timeout=60)
