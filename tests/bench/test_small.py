"""A small version of what `make bench` runs, so that it does not rot. Nothing is said of speed here."""

import asyncio
import io
import json
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from rich.console import Console

from tests.bench.api_processes import bare_server
from tests.bench.api_rows import ROWS
from tests.bench.conduct import Run, conduct
from tests.bench.display import Display
from tests.bench.keeping import keep
from tests.bench.load.requests import write_requests
from tests.bench.measured import SECONDS
from tests.bench.orders import create_requests
from tests.bench.processes import ProcessFailed, run_to_end
from tests.bench.rows import all_rows
from tests.bench.servers import environment_of
from tests.bench.table import show
from tests.integration.platform import Servers

CREATE_ORDER = next(row for row in ROWS if row.name == "CreateOrder")


async def test_a_row_is_measured_shown_and_kept(servers: Servers, tmp_path: Path) -> None:
    SECONDS.set(0.5)
    run, rows, out = Run(), [CREATE_ORDER], tmp_path / "out"
    said = io.StringIO()
    console = Console(file=said, width=150)
    environment = await asyncio.to_thread(environment_of, servers)

    await conduct(rows, servers, tmp_path / "logs", run, Display(console, rows, 1), rounds=1)
    show(run, rows, 1, environment, console)
    written = keep(run, rows, environment, [out])
    keep(run, rows, environment, [out / "again"])

    assert run.failures == {}
    ((limit, service),) = run.rounds["CreateOrder"]
    assert limit.value > 0 < service.value
    assert limit.cpu_us.keys() >= {"limit", "load"}
    assert service.cpu_us.keys() >= {"service", "load"}
    assert service.cpu_us["load"] > 0 < service.cpu_us["service"]
    assert 0 < service.more["p50"] <= service.more["p99"]
    assert written == [out / "bench.json", out / "bench.png", out / "bench.svg"]
    _check_what_was_kept(out)
    assert "CreateOrder" in said.getvalue()


def _check_what_was_kept(out: Path) -> None:
    kept = json.loads((out / "bench.json").read_text())
    (row,) = kept["rows"]
    assert row["ratio"] == pytest.approx(row["service"] / row["limit"])
    assert kept["environment"]["settings"].keys() >= {"fsync", "synchronous_commit"}
    assert (out / "bench.png").read_bytes().startswith(b"\x89PNG")
    for picture in ("bench.png", "bench.svg"):
        assert (out / picture).read_bytes() == (out / "again" / picture).read_bytes()
    assert ElementTree.parse(out / "bench.svg").getroot().tag.endswith("svg")


async def test_a_call_that_fails_ends_the_load_generator_which_says_why(tmp_path: Path) -> None:
    write_requests(tmp_path / "requests", create_requests(1))
    command = [sys.executable, "-m", "tests.bench.load", "--requests", str(tmp_path / "requests")]

    async with bare_server(tmp_path) as (port, _):
        command += ["--target", f"127.0.0.1:{port}", "--method", "/order.OrderService/ListOrders"]
        with pytest.raises(ProcessFailed, match="UNIMPLEMENTED"):
            await run_to_end("the load generator", command, tmp_path / "load.log", 30)


async def test_the_cpu_time_of_a_process_is_taken_from_its_start_to_its_end(tmp_path: Path) -> None:
    program = "import time\nwhile time.process_time() < 0.5: pass\nprint('done')"

    ended = await run_to_end("burning", [sys.executable, "-c", program], tmp_path / "log", 60)

    assert ended.said == "done\n"
    assert 0.45 < ended.cpu_seconds < 5


def test_the_rows_have_names_of_their_own_and_a_target_each() -> None:
    rows = all_rows()

    assert len({row.name for row in rows}) == len(rows)
    assert all((row.at_least is None) != (row.at_most is None) for row in rows)
