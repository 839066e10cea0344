"""Load for a running service, from the terminal."""

import re
import signal
import xml.etree.ElementTree as ElementTree
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.commands import Ended, ended, run, started
from tests.integration.conftest import Shared
from tests.integration.peers import StockService, no_answer, refusal, success
from tests.integration.platform import Platform, Running


def calling(platform: Platform, api: Running) -> dict[str, str]:
    return platform.environment(GRPC_PORT=str(api.ports["grpc"]))


async def stressed(shared: Shared, *arguments: str) -> Ended:
    """A run to its end, with its orders under the load's own users."""
    return await run(calling(shared.platform, shared.api), "stress", *arguments)


async def stored(platform: Platform, figures: dict[str, Any]) -> int:
    """How many orders of a run the database has."""
    ((count,),) = await platform.query(
        "select count(*) from order_service.orders where user_id like %s", figures["users"].replace("*", "%")
    )
    return int(count)


async def progress(process: Process) -> AsyncIterator[tuple[int, int]]:
    """How many orders were sent and accepted, as it is told from second to second."""
    assert process.stderr is not None
    while line := (await process.stderr.readline()).decode():
        assert "Traceback" not in line
        if told := re.search(r"sent ([\d,]+) of .*  accepted ([\d,]+)", line):
            yield int(told[1].replace(",", "")), int(told[2].replace(",", ""))


async def until_accepted(process: Process, orders: int) -> int:
    """Reads on until so many orders were accepted; how many were sent by then."""
    async for sent, accepted in progress(process):
        if accepted >= orders:
            return sent
    raise AssertionError("it ended before")


async def test_every_order_of_a_run_is_stored_and_its_outcome_counted(shared: Shared) -> None:
    async with StockService.running(shared.platform, success):
        done = await stressed(shared, "--num", "250", "--concurrency", "8", "--json")

    figures = done.json
    assert done.code == 0, done.errors
    assert (figures["sent"], figures["accepted"], figures["failed"], figures["rpcs"]) == (250, 250, 0, 250)
    assert (figures["outcomes"], figures["missing"]) == ({"CONFIRMED": 250}, [])
    assert 0 < figures["create_seconds"]["p50"] <= figures["create_seconds"]["p99"] <= figures["create_seconds"]["max"]
    assert sum(row["count"] for row in figures["create_histogram"]) == 250
    assert await stored(shared.platform, figures) == 250
    assert "sent 250 of 250  accepted 250  failed 0" in done.errors


async def test_a_batch_is_one_call(shared: Shared) -> None:
    batches = {"grpc_method": "BatchCreateOrders", "grpc_code": "OK"}
    before = shared.api.metric("grpc_server_handled_total", **batches)

    done = await stressed(shared, "--num", "100", "--batch", "30", "--concurrency", "2", "--no-wait", "--json")

    figures = done.json
    assert (done.code, figures["accepted"], figures["rpcs"]) == (0, 100, 4)
    assert figures["create_seconds"]["count"] == 4
    assert shared.api.metric("grpc_server_handled_total", **batches) - before == 4
    assert await stored(shared.platform, figures) == 100
    assert figures["outcomes"] is None


async def test_with_a_rate_orders_are_sent_when_they_are_due(shared: Shared) -> None:
    done = await stressed(shared, "--num", "100", "--rate", "100", "--batch", "2", "--no-wait", "--json")

    figures = done.json
    assert (done.code, figures["accepted"], figures["rpcs"]) == (0, 100, 50)
    # The last is due after 0.98 s.
    assert figures["elapsed_seconds"] > 0.98


async def test_orders_that_are_refused_are_counted_as_cancelled_and_drawn(shared: Shared, tmp_path: Path) -> None:
    picture = tmp_path / "run.svg"

    async with StockService.running(shared.platform, refusal):
        done = await stressed(shared, "--num", "60", "--plot", str(picture))

    assert done.code == 0, done.errors
    assert re.search(r"^  accepted +60 ", done.output, re.MULTILINE)
    assert re.search(r"^    STOCK_REFUSED +60$", done.output, re.MULTILINE)
    assert re.search(r"^create latency( +[\d.]+ (us|ms|s)){4}  60 RPCs$", done.output, re.MULTILINE)
    assert re.search(r" - .*█.* \d+ +\d+\.\d%$", done.output, re.MULTILINE)
    assert done.output.endswith("Every order was accepted.\n")
    assert ElementTree.parse(picture).getroot().tag.endswith("svg")


async def test_orders_without_an_outcome_are_told_of_when_the_time_is_up(shared: Shared) -> None:
    async with StockService.running(shared.platform, no_answer):
        done = await stressed(shared, "--num", "20", "--seconds", "0.5", "--json")

    assert (done.code, done.json["outcomes"], done.json["outcome_seconds"]) == (0, {"PENDING": 20}, None)
    assert "20 orders had no outcome" in done.json["notes"][0]


async def test_a_burst_of_calls_is_cancelled_by_nobody(shared: Shared) -> None:
    done = await stressed(
        shared, "--num", "5000", "--concurrency", "5000", "--connections", "4", "--timeout", "60", "--no-wait", "--json"
    )

    assert set(done.json["failed_by_code"]) <= {"UNAVAILABLE"}


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["ctrl-c", "sigterm"])
async def test_a_run_that_is_interrupted_prints_what_it_has(shared: Shared, sent: signal.Signals, code: int) -> None:
    environment = calling(shared.platform, shared.api)
    process = await started(environment, "stress", "--num", "1000000", "--concurrency", "4", "--json")
    await until_accepted(process, 20)

    process.send_signal(sent)
    done = await ended(process)

    figures = done.json
    assert (done.code, figures["interrupted"], figures["ok"]) == (code, sent.name, True)
    assert 20 <= figures["accepted"] < 1_000_000
    assert figures["accepted"] <= await stored(shared.platform, figures) <= figures["sent"]
    assert figures["create_seconds"]["count"] == figures["accepted"]


async def test_a_target_that_does_not_answer_is_told_at_once() -> None:
    done = await run({}, "stress", "--target", "127.0.0.1:1", "--json")

    assert (done.code, done.output) == (3, "")
    assert "UNAVAILABLE from 127.0.0.1:1" in done.errors.splitlines()[-1]


async def test_a_service_that_goes_away_is_counted_and_the_run_goes_on(platform: Platform) -> None:
    api = await platform.start_api()
    process = await started(
        calling(platform, api), "stress", "--num", "300", "--rate", "200", "--timeout", "5", "--no-wait", "--json"
    )
    await until_accepted(process, 20)

    api.kill()
    done = await ended(process)

    figures = done.json
    assert (done.code, figures["ok"], figures["sent"]) == (1, False, 300)
    assert 20 <= figures["accepted"] <= await stored(platform, figures)
    assert figures["accepted"] + figures["failed_by_code"]["UNAVAILABLE"] == 300
    assert figures["elapsed_seconds"] > 1.4


async def test_a_server_that_stalls_cannot_hide_it(platform: Platform) -> None:
    """Each order that was due in the meantime waited, whether it was sent (four at a time) or not."""
    api = await platform.start_api()
    process = await started(
        calling(platform, api), "stress", "--num", "400", "--rate", "100", "--concurrency", "4", "--no-wait", "--json"
    )
    await until_accepted(process, 20)

    api.process.send_signal(signal.SIGSTOP)
    try:
        lines = progress(process)
        _, before = await anext(lines)
        async for _, accepted in lines:
            if accepted == before:
                break
            before = accepted
    finally:
        api.process.send_signal(signal.SIGCONT)
    done = await ended(process)

    figures = done.json
    slow = sum(row["count"] for row in figures["create_histogram"] if row["from_seconds"] >= 0.3)
    assert (done.code, figures["accepted"]) == (0, 400), done.errors
    assert figures["create_seconds"]["max"] > 0.9
    assert slow > 50
    assert figures["late"] > 50
