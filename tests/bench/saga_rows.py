"""The rows of the whole saga: throughput beside DBOS, latency beside the parts it is made of."""

import importlib.util
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import psycopg
from psycopg.sql import SQL, Identifier

from tests.bench.api_processes import Load, Site
from tests.bench.load.requests import write_requests
from tests.bench.measured import SECONDS, Figure, NotMeasured, Pair, Row, Tell
from tests.bench.orders import create_requests
from tests.bench.processes import run_to_end, watch_arguments
from tests.bench.shop import Recorder, Shop
from tests.bench.stock_stand_in import QUEUE as STOCK_QUEUE
from tests.bench.stopwatch import Stopwatch, figure
from tests.integration.platform import Platform, Servers
from tests.waiting import eventually

IN_FLIGHT: Final = 64
PER_SECOND: Final = 50.0
_REQUESTS: Final = 5_000
_REPLIES: Final = "order_service.stock_update_results"
_BOUND_SECONDS: Final = 180.0


@asynccontextmanager
async def throughput(servers: Servers, folder: Path, tell: Tell) -> AsyncIterator[Pair]:
    """The platform on one side, DBOS on the other; each has a database of its own on the same PostgreSQL."""
    if importlib.util.find_spec("dbos") is None:
        raise NotMeasured("the saga is compared with DBOS, which is not installed: .venv/bin/pip install -e '.[bench]'")
    write_requests(folder / "requests", create_requests(_REQUESTS))
    with Platform.make(servers, folder) as platform:
        site = await Site.of(platform)
        async with Recorder.running(platform) as recorder:

            async def limit() -> Figure:
                tell("DBOS executes the saga")
                return await _dbos(servers, site, recorder)

            async def service() -> Figure:
                tell("starting api, worker and stock service")
                async with Shop.open(site) as shop:
                    return await _sagas(shop, recorder, folder / "requests", tell)

            yield Pair(limit=limit, service=service)


async def _dbos(servers: Servers, site: Site, recorder: Recorder) -> Figure:
    """Workflows a second of DBOS on a fresh database."""
    seconds = SECONDS.get()
    recorder.clear()
    command = [sys.executable, "-m", "tests.bench.dbos_saga", "--in-flight", str(IN_FLIGHT), "--seconds", str(seconds)]
    command += watch_arguments(site.watched)
    with _database(servers.database_url) as url:
        log = site.platform.folder / "dbos.log"
        environ = {"DATABASE_URL": url, "RABBITMQ_URL": site.platform.rabbitmq_url}
        ended = await run_to_end("DBOS", command, log, seconds + _BOUND_SECONDS, **environ)
    result = ended.result()
    # Those of the warm-up are heard as well.
    await eventually(lambda: recorder.count >= result["count"], 30)
    return figure(result["rate"], result["count"], result["cpu_seconds"])


async def _sagas(shop: Shop, recorder: Recorder, requests: Path, tell: Tell) -> Figure:
    """Sagas a second from the first that was confirmed until all that were begun are: a backlog counts against it."""
    shop.site.empty()
    recorder.clear()
    stopwatch, began = Stopwatch(shop.watched), time.process_time()
    tell(f"{IN_FLIGHT} clients create orders")
    load = await shop.site.loaded(Load("CreateOrder", requests, IN_FLIGHT), shop.api.port)
    [(created,)] = await shop.site.platform.query("select count(*) from order_service.orders")
    waiting = created - recorder.count
    tell(f"{waiting:,} of {created:,} orders are still to be confirmed")
    await eventually(lambda: recorder.count >= created, _BOUND_SECONDS)
    spent = {**stopwatch.read()["cpu_seconds"], "recorder": time.process_time() - began}
    await _check_confirmed(shop.site.platform, created, recorder.count)
    rate = (created - 1) / (recorder.last - recorder.first)
    of_all = figure(rate, created, spent, created_per_second=load.value, behind_at_the_end=waiting)
    return Figure(of_all.value, {**of_all.cpu_us, "load": load.cpu_us["load"]}, of_all.more)


async def _check_confirmed(platform: Platform, created: int, heard: int) -> None:
    """Raises AssertionError unless each order was confirmed, and said to be once."""
    [(confirmed,)] = await platform.query("select count(*) from order_service.orders where status = 'CONFIRMED'")
    if not created == confirmed == heard:
        raise AssertionError(f"{created:,} orders, {confirmed:,} of them confirmed, {heard:,} order.confirmed heard")


@asynccontextmanager
async def latency(servers: Servers, folder: Path, tell: Tell) -> AsyncIterator[Pair]:
    """The platform on one side, on the other one statement and two messages, at the same pace."""
    with Platform.make(servers, folder) as platform:
        site = await Site.of(platform)
        tell("the service declares its queues")
        async with Shop.open(site):
            queues = await _queues_like_those_of_a_saga(platform)

        async def limit() -> Figure:
            tell("the parts by themselves")
            return await _parts(site, queues)

        async def service() -> Figure:
            tell(f"{PER_SECOND:.0f} orders a second")
            async with Shop.open(site) as shop:
                return await _paced(shop)

        yield Pair(limit=limit, service=service)


async def _queues_like_those_of_a_saga(platform: Platform) -> list[str]:
    """Queues of the kinds that an order and its reply pass through."""
    names = []
    async with platform.broker() as channel:
        for passed in (STOCK_QUEUE, _REPLIES):
            kind = platform.management.queue(passed)
            if kind is None:
                raise AssertionError(f"{passed} was not declared")
            names.append(f"bench.like.{passed}")
            await channel.declare_queue(names[-1], durable=True, arguments=kind["arguments"])
    return names


async def _parts(site: Site, queues: Sequence[str]) -> Figure:
    """Seconds: the sum of the medians."""
    seconds = 2 * SECONDS.get()
    platform = site.platform
    command = [sys.executable, "-m", "tests.bench.bare.parts", *_pace(seconds)]
    command += [argument for queue in queues for argument in ("--queue", queue)]
    environ = {"DATABASE_URL": platform.database_url, "RABBITMQ_URL": platform.rabbitmq_url}
    site.empty()
    ended = await run_to_end("the parts", command, platform.folder / "parts.log", seconds + 60, **environ)
    result = ended.result()
    # Nothing may be left to the worker of the other side.
    site.empty()
    return Figure(result.pop("sum"), {}, result)


async def _paced(shop: Shop) -> Figure:
    """Seconds from when an order is due to be sent until it is heard to be confirmed."""
    shop.site.empty()
    seconds = 2 * SECONDS.get()
    platform = shop.site.platform
    command = [sys.executable, "-m", "tests.bench.paced_sagas", *_pace(seconds)]
    command += ["--target", f"127.0.0.1:{shop.api.port}", *watch_arguments(shop.watched)]
    log = platform.folder / "paced.log"
    ended = await run_to_end("the paced orders", command, log, seconds + 90, RABBITMQ_URL=platform.rabbitmq_url)
    result = ended.result()
    more = {name: result[name] for name in ("p50", "p90", "p99", "max")}
    return figure(result["p50"], result["count"], result["cpu_seconds"], **more)


def _pace(seconds: float) -> list[str]:
    return ["--per-second", str(PER_SECOND), "--seconds", str(seconds)]


@contextmanager
def _database(admin_url: str) -> Iterator[str]:
    """A fresh database on the same server."""
    name = f"t_{uuid4().hex[:12]}"
    with psycopg.connect(admin_url, autocommit=True) as connection:
        connection.execute(SQL("create database {}").format(Identifier(name)))
        connection.execute("checkpoint")
        yield urlunsplit(urlsplit(admin_url)._replace(path=f"/{name}"))
        connection.execute(SQL("drop database {} with (force)").format(Identifier(name)))


ROWS: Final[Sequence[Row]] = (
    Row(
        name="saga",
        unit="sagas/s",
        service=f"{IN_FLIGHT} clients of the api, the worker, a stock stand-in: until all created are confirmed",
        limit=f"the same saga as a DBOS workflow, {IN_FLIGHT} in flight, all but the broker in its own processes",
        opened=throughput,
        at_least=10.0,
    ),
    Row(
        name="latency",
        unit="s",
        service=f"{PER_SECOND:.0f} orders/s: p50 from when one is due until the broker delivers its `order.confirmed`",
        limit="the sum of the bare parts' p50: a commit, two confirmed publishes, two deliveries",
        opened=latency,
        at_most=3.0,
        most={"p99": 0.060},
    ),
)
