"""What a person is told while a run goes on."""

import io

from rich.console import Console

from tests.bench.api_rows import ROWS
from tests.bench.display import Display
from tests.bench.measured import Figure


def test_a_run_elsewhere_than_on_a_terminal_is_told_in_lines() -> None:
    said = io.StringIO()
    display = Display(Console(file=said, width=200), ROWS, rounds=2)

    with display.following():
        display.begun(ROWS[0], 2)
        display.doing("measuring the limit")
        display.round_ended(ROWS[0], 1, 2, Figure(200.0), Figure(100.0))

    assert "CreateOrder: " in said.getvalue()
    assert "round 1 of 2  service 100 orders/s, limit 200 orders/s, ratio 0.50" in said.getvalue()
    assert display.now().startswith("CreateOrder, round 2 of 2: measuring the limit, about ")
    assert display.share == (1, 2 * len(ROWS))


def test_the_rounds_of_a_row_that_failed_are_not_waited_for() -> None:
    display = Display(Console(file=io.StringIO()), ROWS[:1], rounds=3)

    display.begun(ROWS[0], 3)
    display.round_ended(ROWS[0], 1, 3, Figure(1.0), Figure(1.0))
    display.failed(ROWS[0], "a call failed")

    assert display.share == (1, 1)
    assert display.left() == "0:00"
