"""The picture of a run."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

from order_service.pb import order_pb2
from order_service.stress.measuring import Measured
from order_service.stress.plot import draw
from order_service.stress.report import Report
from tests.unit.stress.plans import a_plan
from tests.unit.stress.test_report import an_order, measured_with, outcomes_of

WHOLE = Report(measured_with(40, ("UNAVAILABLE",) * 5), outcomes_of(an_order(0, order_pb2.CONFIRMED)), "", 0.1)
NOTHING = Report(Measured(a_plan(rate=10.0)), None, "SIGINT", 0.0)


def test_a_run_is_drawn_with_what_it_came_to(tmp_path: Path) -> None:
    draw(WHOLE, tmp_path / "run.svg")

    text = (tmp_path / "run.svg").read_text()
    assert ElementTree.fromstring(text).tag == "{http://www.w3.org/2000/svg}svg"
    assert "127.0.0.1:50054: 40 of 45 orders accepted" in text
    assert all(f"<!-- {part} -->" in text for part in ("accepted", "failed", "p99", "time to outcome"))


def test_a_run_that_came_to_nothing_is_drawn_too(tmp_path: Path) -> None:
    draw(NOTHING, tmp_path / "run.PNG")

    assert (tmp_path / "run.PNG").read_bytes().startswith(b"\x89PNG\r\n")
