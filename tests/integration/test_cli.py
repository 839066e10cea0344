"""The command line: orders, seen from the terminal."""

import asyncio
import json
import signal
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from order_service.saga.engine import ReplyReceived
from order_service.saga.order_saga import StepName
from order_service.storage.database import Database
from tests.integration.commands import ORDER_SERVICE, ended, run, started, succeed
from tests.integration.conftest import Shared
from tests.integration.peers import StockService, refusal, success
from tests.integration.platform import Platform
from tests.integration.storage_fixtures import ask, create, created, opened, stimulate
from tests.waiting import eventually

TEA = ("--item", "tea:2:19.99")
REFUSED = ReplyReceived(StepName.STOCK, False, "none left")
UNKNOWN_ID = "019aa3c4-6d0e-7a31-9f4e-0f6d3f8a2b11"


def calling(shared: Shared) -> dict[str, str]:
    return shared.platform.environment(GRPC_PORT=str(shared.api.ports["grpc"]))


async def settle(database: Database, order_id: UUID, reply: ReplyReceived) -> None:
    await database.run(lambda work: stimulate(work, order_id, reply))


async def test_placing_shows_each_state_until_the_outcome(shared: Shared, user: str) -> None:
    async with StockService.running(shared.platform, success):
        placed = await succeed(calling(shared), "place", "--user", user, *TEA, "--item", "a:b:1:5", "--json")

    assert [state["status"] for state in placed.json_lines] == ["PENDING", "CONFIRMED"]
    assert {(state["total_price"], state["currency"]) for state in placed.json_lines} == {(44.98, "USD")}


async def test_placing_an_order_that_is_cancelled_exits_1_and_says_why(shared: Shared, user: str) -> None:
    async with StockService.running(shared.platform, refusal):
        placed = await run(calling(shared), "place", "--user", user, *TEA, "--currency", "EUR")

    assert (placed.code, placed.errors) == (1, "")
    assert placed.output.splitlines()[-1].endswith("CANCELLED  STOCK_REFUSED (none left)")


async def test_placing_twice_under_one_request_id_is_one_order(shared: Shared, user: str) -> None:
    place = ("place", "--user", user, *TEA, "--request-id", "once", "--no-wait", "--json")

    first, second = [await succeed(calling(shared), *place) for _ in range(2)]

    assert first.json == second.json


async def test_a_bad_order_is_refused_naming_each_bad_field(shared: Shared) -> None:
    placed = await run(calling(shared), "place", "--user", "ada", "--item", "tea:0:-1")

    assert (placed.code, placed.errors.count("\n")) == (2, 1)
    assert "items[0].quantity must be at least 1; items[0].price must not be negative" in placed.errors


@pytest.mark.parametrize("item", ["tea", "tea:1", "tea:one:1", "tea:1:cheap", "tea:99999999999:1"])
async def test_an_item_that_is_none_is_refused_before_any_call(item: str) -> None:
    placed = await run({}, "place", "--user", "ada", "--item", item)

    assert placed.code == 2


async def test_a_server_that_does_not_answer_is_exit_code_3() -> None:
    placed = await run({}, "place", "--target", "127.0.0.1:1", "--user", "ada", *TEA)

    assert (placed.code, placed.errors.count("\n")) == (3, 1)


async def test_orders_are_listed_newest_first_by_user_and_status(shared_platform: Platform, user: str) -> None:
    async with opened(shared_platform.database_url) as database:
        asked = [ask(user) for _ in range(3)]
        await create(database, *asked)
        await settle(database, asked[0].order_id, REFUSED)
    environment = shared_platform.environment()

    mine = await succeed(environment, "orders", "list", "--user", user, "--json")
    pending = await run(environment, "orders", "list", "--user", user, "--status", "pending", "--limit", "1")

    newest_first = [str(one.order_id) for one in reversed(asked)]
    assert [order["order_id"] for order in mine.json_lines] == newest_first
    assert mine.json_lines[-1]["reason_code"] == "STOCK_REFUSED"
    assert [line.split()[:3] for line in pending.output.splitlines()[1:]] == [[newest_first[0], "PENDING", "43.48"]]
    assert (pending.code, pending.errors) == (0, "there may be more: these are the 1 newest (--limit)\n")


async def test_no_orders_are_an_empty_list(shared_platform: Platform, user: str) -> None:
    listed = await run(shared_platform.environment(), "orders", "list", "--user", user)

    assert (listed.code, listed.output, listed.errors) == (0, "", "no such orders\n")


async def test_a_reader_that_leaves_ends_the_list_quietly(shared_platform: Platform) -> None:
    async with opened(shared_platform.database_url) as database:
        await created(database, 300)

    shell = await asyncio.create_subprocess_shell(
        f"{ORDER_SERVICE} orders list --limit 300 --json | head -1",
        env=shared_platform.environment(),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    done = await ended(shell)

    assert (done.errors, done.output.count("\n")) == ("", 1)


async def test_an_order_is_shown_with_items_and_history(shared: Shared, user: str) -> None:
    async with StockService.running(shared.platform, success):
        placed = await succeed(calling(shared), "place", "--user", user, *TEA, "--json")
    order_id = placed.json_lines[0]["order_id"]

    async def shown_as_sent() -> dict[str, Any]:
        shown = (await succeed(calling(shared), "orders", "show", order_id, "--json")).json
        return shown if all(event["confirmed_at"] for event in shown["events"]) else {}

    shown = await eventually(shown_as_sent)
    for_people = await succeed(calling(shared), "orders", "show", order_id)

    assert shown["items"] == [{"product_id": "tea", "quantity": 2, "price": 19.99}]
    assert [event["type"] for event in shown["events"]] == ["order.created", "order.confirmed"]
    assert all(datetime.fromisoformat(event["occurred_at"]).tzinfo for event in shown["events"])
    assert "39.98 USD" in for_people.output


async def test_an_order_is_explained_in_a_sentence_and_in_fields(shared_platform: Platform) -> None:
    async with opened(shared_platform.database_url) as database:
        (order_id,) = await created(database, 1)

    explained = await succeed(shared_platform.environment(), "orders", "explain", str(order_id))
    fields = (await succeed(shared_platform.environment(), "orders", "explain", str(order_id), "--json")).json

    assert explained.output.startswith("PENDING: waiting for StockUpdateResult for ")
    assert (fields["waiting_for"], fields["steps"]) == ("StockUpdateResult", {"stock": "ASKED"})
    assert fields["last_event"]["type"] == "order.created"


async def test_watching_prints_each_change_as_it_happens_until_settled(shared_platform: Platform) -> None:
    async with opened(shared_platform.database_url) as database:
        (order_id,) = await created(database, 1)
        watch = await started(
            shared_platform.environment(), "orders", "watch", str(order_id), "--until-settled", "--json"
        )
        assert watch.stdout
        first = json.loads(await watch.stdout.readline())
        await settle(database, order_id, REFUSED)
        rest = await ended(watch)

    assert (first["status"], rest.json["status"], rest.json["type"]) == ("PENDING", "CANCELLED", "order.cancelled")
    assert (rest.code, rest.errors) == (0, "")


async def test_an_interrupted_watch_ends_cleanly(shared_platform: Platform) -> None:
    async with opened(shared_platform.database_url) as database:
        (order_id,) = await created(database, 1)
    watch = await started(shared_platform.environment(), "orders", "watch", str(order_id))
    assert watch.stdout
    await watch.stdout.readline()

    watch.send_signal(signal.SIGINT)
    done = await ended(watch)

    assert (done.code, done.output, done.errors) == (130, "", "")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("orders", "show", UNKNOWN_ID), 1),
        (("orders", "watch", UNKNOWN_ID), 1),
        (("orders", "explain", "nonsense"), 2),
        (("orders", "list", "--status", "LOST"), 2),
        (("orders", "list", "--limit", "0"), 2),
    ],
)
async def test_what_is_not_there_is_exit_code_1_and_what_is_wrong_2(
    shared_platform: Platform, arguments: tuple[str, ...], code: int
) -> None:
    done = await run(shared_platform.environment(), *arguments)

    assert (done.code, done.output, done.errors.count("\n")) == (code, "", 1)


@pytest.mark.parametrize(
    ("database_url", "code", "told"),
    [
        ("", 2, "DATABASE_URL: is not set"),
        ("mysql://u:secret@h/d", 2, "DATABASE_URL: must be a URL"),
        ("postgresql://u:secret@127.0.0.1:1/d", 3, "Connection refused"),
    ],
)
async def test_a_database_that_cannot_be_used_is_told_in_short(database_url: str, code: int, told: str) -> None:
    done = await run({"DATABASE_URL": database_url}, "orders", "list")

    assert done.code == code
    assert told in done.errors
    assert "secret" not in done.errors


async def test_a_database_without_the_schema_is_told_what_to_do(platform: Platform) -> None:
    await platform.query("drop schema order_service cascade")

    done = await run(platform.environment(), "orders", "list")

    assert (done.code, done.errors.count("\n")) == (1, 1)
    assert "run 'order-service migrate'" in done.errors


async def test_the_readmes_table_of_variables_is_printed() -> None:
    printed = await succeed({}, "variables", "--markdown")
    known = await succeed({}, "variables", "--json")

    assert printed.output in (Path(__file__).parents[2] / "README.md").read_text()
    assert {"name": "GRPC_PORT", "default": ":50054"}.items() <= known.json_lines[0].items()
