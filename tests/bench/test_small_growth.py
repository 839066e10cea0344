"""A small version of what `make bench-growth` runs, so that it does not rot. Nothing is said of speed here."""

import asyncio
import io
import json
from pathlib import Path
from typing import Any

from rich.console import Console

from order_service.pb import order_pb2
from tests.bench.growth.conduct import Run, conduct
from tests.bench.growth.display import Display
from tests.bench.growth.filling import LISTED_USER, TABLES, Filling, fill, size_of
from tests.bench.growth.keeping import keep, show
from tests.bench.growth.plan import plan
from tests.bench.growth.sizes import Sizes
from tests.bench.servers import environment_of
from tests.integration.calls import an_item, an_order
from tests.integration.peers import StockService, success
from tests.integration.platform import Platform, Servers, gateway
from tests.waiting import eventually

SIZES = Sizes(
    large=300,
    middle=200,
    listed=100,
    backlog=50,
    long_backlog=50,
    carried=200,
    rounds=1,
    seconds=0.2,
    idle_seconds=0.5,
)
CONSTANT = {"status", "state", "steps", "version", "type", "currency", "consumer", "line"}
"""Columns whose values are told by where an order is in its life."""


async def test_measures_are_taken_shown_and_kept(servers: Servers, tmp_path: Path) -> None:
    run, steps, logs = Run(), plan(["relay", "list-orders"]), tmp_path / "logs"
    logs.mkdir()
    said = io.StringIO()
    console = Console(file=said, width=150)
    environment = await asyncio.to_thread(environment_of, servers)

    await conduct(steps, servers, logs, SIZES, run, Display(console, steps, 0.0001))
    show(run, environment, console)
    written = keep(run, 0.0001, environment, [tmp_path])

    assert run.failures == {}
    measured = {one.result.name: one.result for one in run.measured}
    assert {name: len(result.bounds) for name, result in measured.items()} == {"fill": 0, "relay": 2, "list-orders": 2}
    assert all(bound.measured > 0 for result in measured.values() for bound in result.bounds)
    times = {name for name, value in measured["list-orders"].figures.items() if name.endswith(": ms") and value > 0}
    assert times == {f"{what}, {orders} orders: ms" for what in ("first page", "all pages") for orders in (100, 300)}
    assert [file.name for file in written] == ["bench-growth.json", "growth.png", "growth.svg"]
    kept = json.loads(written[0].read_text())
    assert [measure["name"] for measure in kept["measures"]] == ["fill", "relay", "list-orders"]
    assert {"orders/s", "bytes an order"} <= kept["measures"][0]["figures"].keys()
    assert written[1].read_bytes().startswith(b"\x89PNG")
    assert all(step.name in said.getvalue() for step in steps)


async def test_memory_is_read_of_both_processes_after_each_step(servers: Servers, tmp_path: Path) -> None:
    run, steps = Run(), plan(["memory"])

    await conduct(steps, servers, tmp_path, SIZES, run, Display(Console(file=io.StringIO()), steps, 0.0001))

    assert run.failures == {}
    (measured,) = run.measured
    assert {name: [orders for orders, _ in curve] for name, curve in measured.panel.curves.items()} == {
        "api": [50, 100, 150, 200],
        "worker": [50, 100, 150, 200],
    }
    assert all(20 < megabytes < 1_000 for curve in measured.panel.curves.values() for _, megabytes in curve)


async def test_filled_rows_are_as_the_service_leaves_them(servers: Servers, tmp_path: Path) -> None:
    with Platform.make(servers, tmp_path) as platform:
        async with StockService.running(platform, success):
            api, worker = await platform.start_both()
            async with gateway(api) as stub:
                request = an_order("ada", an_item("cup"), an_item("tea"), request_id="once")
                answer: order_pb2.CreateOrderResponse = await stub.CreateOrder(request)
            await eventually(lambda: _confirmed(platform))
            await asyncio.to_thread(worker.stop)
        left = {table: await _shapes(platform, table) for table in TABLES}
    with Platform.make(servers, tmp_path) as platform:
        await fill(platform.database_url, Filling(60, 20), lambda done: None)

        made = {table: await _shapes(platform, table) for table in TABLES}
        orders = await platform.query("select user_id = %s, count(*) from order_service.orders group by 1", LISTED_USER)
        astray = await platform.query(
            "select 1 from order_service.orders o join order_service.orders later on later.order_id > o.order_id"
            " where later.created_at < o.created_at"
        )
        size = await size_of(platform.database_url)
    assert answer.order.id
    assert made == left
    assert sorted(orders) == [(False, 40), (True, 20)]
    assert astray == []
    assert size > 60 * 1_000


async def _confirmed(platform: Platform) -> bool:
    """Whether the broker has confirmed both events of the one order."""
    return await platform.query("select count(*) from order_service.event_confirmations") == [(2,)]


async def _shapes(platform: Platform, table: str) -> set[str]:
    """What tells rows of a table apart, apart from ids, names, amounts and times."""
    rows = await platform.query(f"select to_jsonb(t) from order_service.{table} t")
    return {json.dumps(_shape(row), sort_keys=True) for (row,) in rows}


def _shape(row: dict[str, Any]) -> dict[str, Any]:
    shape = {name: value if name in CONSTANT else value is not None for name, value in row.items()}
    if "payload" in row:
        shape["payload"] = sorted(json.loads(row["payload"]))
    return shape
