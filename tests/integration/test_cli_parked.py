"""The command line: parked messages, in the hands of an operator."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest

from order_service.storage.parked_messages import NewParked
from tests.integration.commands import run, succeed
from tests.integration.peers import StockService, no_answer
from tests.integration.platform import Platform
from tests.integration.storage_fixtures import ask, create, opened
from tests.waiting import eventually

POISON = b"\xff\x00 no JSON"


async def parked(platform: Platform) -> list[dict[str, Any]]:
    return (await succeed(platform.environment(), "parked", "list", "--json")).json_lines


async def waiting(platform: Platform, count: int) -> Sequence[dict[str, Any]]:
    """What waits for an operator, once it is so much."""

    async def enough() -> bool:
        found = await platform.query("select 1 from order_service.parked_messages where retry_at is null")
        return len(found) == count

    await eventually(enough)
    return await parked(platform)


def message(reason_code: str = "UNREADABLE", body: bytes = POISON, **changes: Any) -> NewParked:
    known: dict[str, Any] = {"headers": {}, **changes}
    return NewParked("StockUpdateResult", uuid4(), reason_code, "as a test has it", body, **known)


async def park(platform: Platform, *messages: NewParked) -> None:
    async with opened(platform.database_url) as database:
        await database.run(lambda work: work.parked.insert(messages))


@asynccontextmanager
async def receiving(platform: Platform) -> AsyncIterator[StockService]:
    """A worker that gives up on unknown orders at once, and a stock service to send it things."""
    await platform.start_worker(REPLY_RETRY_FOR="1ms")
    async with StockService.running(platform, no_answer) as stock:
        yield stock


async def test_a_reply_that_came_before_its_order_is_redriven(platform: Platform) -> None:
    asked = ask()
    async with receiving(platform) as stock, opened(platform.database_url) as database:
        await stock.reply({"order_id": str(asked.order_id), "success": True})
        (before,) = await waiting(platform, 1)
        await create(database, asked)

        redriven = await succeed(platform.environment(), "parked", "redrive", str(before["parked_id"]))
        watched = await succeed(
            platform.environment(), "orders", "watch", str(asked.order_id), "--until-settled", "--json"
        )

    assert (before["reason_code"], before["order_id"]) == ("UNKNOWN_ORDER", str(asked.order_id))
    assert redriven.output == "redriven: 1\n"
    assert watched.json_lines[-1]["status"] == "CONFIRMED"
    assert await parked(platform) == []


async def test_what_is_still_unreadable_is_parked_again(platform: Platform) -> None:
    async with receiving(platform) as stock:
        await stock.send(POISON)
        (before,) = await waiting(platform, 1)

        await succeed(platform.environment(), "parked", "redrive", "--all")
        (after,) = await waiting(platform, 1)

    assert (before["reason_code"], after["reason_code"]) == ("UNREADABLE", "UNREADABLE")
    assert before["parked_id"] == after["parked_id"]


async def test_only_those_parked_for_a_reason_are_redriven(platform: Platform) -> None:
    await park(platform, message("UNREADABLE"), message("UNKNOWN_ORDER"), message("UNKNOWN_ORDER", retry_seconds=60))

    redriven = await succeed(
        platform.environment(), "parked", "redrive", "--all", "--reason-code", "UNKNOWN_ORDER", "--json"
    )

    unreadable, unknown, _ = await parked(platform)
    assert redriven.json == {"parked_id": unknown["parked_id"], "outcome": "redriven"}
    assert (unreadable["retry_at"], bool(unknown["retry_at"])) == (None, True)


async def test_a_parked_message_is_shown_with_its_headers_and_bytes(platform: Platform) -> None:
    text = json.dumps({"text": "x" * 5_000})
    await park(platform, message(headers={"sender": "stock 7"}), message(body=text.encode()))
    binary, long = [str(one["parked_id"]) for one in await parked(platform)]
    environment = platform.environment()

    shown = await succeed(environment, "parked", "show", binary)
    for_programs = await succeed(environment, "parked", "show", long, "--json")
    cut = await run(environment, "parked", "show", long)
    full = await succeed(environment, "parked", "show", long, "--full")

    assert "stock 7" in shown.output
    assert shown.output.splitlines()[-1] == "00000000  ff 00 20 6e 6f 20 4a 53 4f 4e                    .. no JSON"
    assert for_programs.json["body"] == text
    assert cut.errors == "... and 3012 more (--full)\n"
    assert len(full.output) - len(cut.output) == 3_012


async def test_discarding_is_for_good_and_asks_first(platform: Platform) -> None:
    await park(platform, message())
    (before,) = await parked(platform)
    discard = ("parked", "discard", str(before["parked_id"]))

    unasked = await run(platform.environment(), *discard)
    kept = await parked(platform)
    discarded = await succeed(platform.environment(), *discard, "--yes")
    again = await run(platform.environment(), *discard, "--yes", "--json")

    assert (unasked.code, unasked.errors.count("\n"), len(kept)) == (2, 1, 1)
    assert (discarded.output, await parked(platform)) == ("discarded: 1\n", [])
    assert (again.code, again.json["outcome"]) == (1, "not_found")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("show", "17"), 1),
        (("show", "seventeen"), 2),
        (("redrive", "17"), 1),
        (("redrive",), 2),
        (("redrive", "17", "--all"), 2),
        (("redrive", "17", "--reason-code", "UNREADABLE"), 2),
        (("discard", "--yes"), 2),
    ],
)
async def test_what_is_not_parked_is_exit_code_1_and_what_is_wrong_2(
    shared_platform: Platform, arguments: tuple[str, ...], code: int
) -> None:
    done = await run(shared_platform.environment(), "parked", *arguments)

    assert (done.code, done.errors.count("\n")) == (code, 1)


async def test_nothing_parked_is_an_empty_list(shared_platform: Platform) -> None:
    listed = await run(shared_platform.environment(), "parked", "list")
    redriven = await succeed(shared_platform.environment(), "parked", "redrive", "--all")

    assert (listed.code, listed.output, listed.errors) == (0, "", "nothing is parked\n")
    assert redriven.output == "redriven: 0\n"
