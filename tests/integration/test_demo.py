"""The demo, on servers that were given to it: it counts right, and leaves nothing behind."""

import asyncio
import json
import os
import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest

from tests.integration.commands import ended, run, started
from tests.integration.platform import Platform
from tests.integration.process_table import children_of, is_gone
from tests.waiting import eventually

OWN_DATABASE = re.compile(r"order_service_demo_\w+")


@asynccontextmanager
async def under_way(platform: Platform, folder: Path) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """A demo that has begun to place orders, and what it has told."""
    process = await started(platform.environment(), "demo", "--folder", str(folder))
    assert process.stdout
    told = ""
    try:
        while " placed " not in told:
            line = await process.stdout.readline()
            assert line, await process.communicate()
            told += line.decode()
        yield process, told
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def own_database_is_gone(platform: Platform, told: str) -> bool:
    """Whether the database that the demo said it made is there no more."""
    found = OWN_DATABASE.search(told)
    assert found, told
    return not await platform.query("select from pg_database where datname = %s", found[0])


async def test_sixty_orders_are_counted_and_every_promise_is_kept(platform: Platform, tmp_path: Path) -> None:
    done = await run(platform.environment(), "demo", "--orders", "60", "--json", "--folder", str(tmp_path))
    report = done.json

    assert (done.code, report["ok"], report["problems"], report["lost"]) == (0, True, [], 0)
    assert report == json.loads((tmp_path / "demo.json").read_text())
    assert report["by_outcome"] == {"CANCELLED": 14, "CONFIRMED": 46}
    assert report["by_reason"] == {"CANCELLED_BY_OWNER": 4, "STOCK_REFUSED": 6, "STOCK_TIMEOUT": 4}
    assert (report["orders"], sum(report["by_outcome"].values())) == (60, 60)
    assert (report["releases"], report["compensations"], report["parked"]) == (6, 6, 1)
    assert (report["duplicates_ignored"], 2 <= report["late_replies"] <= 6) == (4, True)
    # An order that was confirmed before it was cancelled has one event more, and its reply was not late.
    confirmed_first = 6 - report["late_replies"]
    assert report["events_published"] == report["events_distinct"] == 60 + 60 + 6 + confirmed_first
    assert report["seconds_answered_in_time"]["p50"] < report["seconds"]["p99"]
    assert "RABBITMQ_URL is used as it is" in done.errors
    assert await own_database_is_gone(platform, done.errors)


async def test_a_role_that_may_not_create_databases_uses_the_given_one(platform: Platform, tmp_path: Path) -> None:
    name = f"few_rights_{platform.management.name}"
    await platform.query(f"create role {name} login password 'few'")
    await platform.query(f"create database {name} owner {name}")
    parts = urlsplit(platform.database_url)
    url = urlunsplit(parts._replace(netloc=f"{name}:few@{parts.hostname}:{parts.port}", path=f"/{name}"))
    try:
        arguments = ("--orders", "4", "--json", "--folder", str(tmp_path))
        first = await run(platform.environment(DATABASE_URL=url), "demo", *arguments)
        second = await run(platform.environment(DATABASE_URL=url), "demo", *arguments, "--seed", "2")
    finally:
        await platform.query(f"drop database {name} with (force)")
        await platform.query(f"drop role {name}")

    assert "only this run's orders are counted" in first.errors
    assert [(done.code, done.json["orders"], done.json["parked"]) for done in (first, second)] == [(0, 4, 1)] * 2


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
async def test_a_demo_that_is_ended_takes_everything_with_it(
    platform: Platform, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    async with under_way(platform, tmp_path) as (demo, told):
        children = children_of(demo.pid)
        demo.send_signal(number)
        done = await ended(demo)

    assert (done.errors, done.code) == ("everything has stopped\n", code)
    assert len(children) == 3
    assert all(is_gone(child) for child in children)
    assert await own_database_is_gone(platform, told)


async def test_the_processes_of_a_demo_that_is_killed_die_too(platform: Platform, tmp_path: Path) -> None:
    async with under_way(platform, tmp_path) as (demo, _):
        children = children_of(demo.pid)
        demo.kill()
        await eventually(lambda: all(is_gone(child) for child in children))

    assert len(children) == 3


async def test_a_process_that_dies_fails_the_demo_in_a_line(platform: Platform, tmp_path: Path) -> None:
    async with under_way(platform, tmp_path) as (demo, _):
        stock, *_ = children_of(demo.pid)
        os.kill(stock, signal.SIGKILL)
        done = await ended(demo)

    assert (done.code, done.errors.count("\n")) == (1, 1)
    assert "stock ended" in done.errors


async def test_two_demos_do_not_share_their_logs(platform: Platform, tmp_path: Path) -> None:
    async with under_way(platform, tmp_path):
        second = await run(platform.environment(), "demo", "--folder", str(tmp_path))

    assert (second.code, second.errors.count("\n")) == (1, 1)
    assert "give --folder" in second.errors


async def test_a_platform_that_keeps_running_can_be_used_by_hand(platform: Platform, tmp_path: Path) -> None:
    up = await started(platform.environment(), "demo", "--keep-running", "--folder", str(tmp_path))
    assert up.stdout
    told: list[str] = []
    while not any("Ctrl-C" in line for line in told):
        told.append((await up.stdout.readline()).decode())
    target = next(line.split()[1] for line in told if line.strip().startswith("gRPC"))

    placed = await run({}, "place", "--target", target, "--user", "ada", "--item", "out-of-stock-tea:1:5", "--json")
    up.send_signal(signal.SIGINT)
    done = await ended(up)

    states: list[dict[str, Any]] = placed.json_lines
    assert (placed.code, states[-1]["reason"]) == (1, "out-of-stock-tea is out of stock")
    assert (done.code, done.errors) == (0, "everything has stopped\n")


async def test_servers_that_do_not_answer_are_exit_code_3(platform: Platform, tmp_path: Path) -> None:
    environment = platform.environment(RABBITMQ_URL="amqp://guest:guest@127.0.0.1:1/")

    done = await run(environment, "demo", "--folder", str(tmp_path))

    assert (done.code, done.errors.count("\n")) == (3, 1)
    assert "RABBITMQ_URL" in done.errors
