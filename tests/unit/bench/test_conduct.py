"""How rows are measured in turn, and what is left when something goes wrong."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.bench.conduct import Run, conduct
from tests.bench.measured import Figure, NotMeasured, Pair, Row, Tell
from tests.integration.platform import Servers

NO_SERVERS = Servers("", "", "")


@dataclass(slots=True)
class Noting:
    """Notes what a watcher is told, and what the rows do."""

    notes: list[str] = field(default_factory=list)

    def begun(self, row: Row, rounds: int) -> None:
        self.notes.append(f"begun {row.name}")

    def doing(self, what: str) -> None:
        pass

    def round_ended(self, row: Row, number: int, rounds: int, limit: Figure, service: Figure) -> None:
        self.notes.append(f"round {number} of {rounds}")

    def failed(self, row: Row, why: str) -> None:
        self.notes.append(f"failed {row.name}")


def a_row(noting: Noting, name: str, on_service: Callable[[int], None] = lambda number: None) -> Row:
    """A row of which the service is twice as fast as the limit; `on_service` is called with the round's number."""

    @asynccontextmanager
    async def opened(servers: Servers, folder: Path, tell: Tell) -> AsyncIterator[Pair]:
        number = 0

        async def limit() -> Figure:
            noting.notes.append("limit")
            return Figure(1.0)

        async def service() -> Figure:
            nonlocal number
            number += 1
            noting.notes.append("service")
            on_service(number)
            return Figure(2.0)

        try:
            yield Pair(limit, service)
        finally:
            noting.notes.append("closed")

    return Row(name, "orders/s", "", "", opened, at_least=1.5, rounds=2)


async def measured(noting: Noting, rows: Sequence[Row], folder: Path, rounds: int | None = None) -> Run:
    run = Run()
    await conduct(rows, NO_SERVERS, folder, run, noting, rounds)
    return run


async def test_limit_and_service_are_measured_in_turn(tmp_path: Path) -> None:
    noting = Noting()
    row = a_row(noting, "one")

    run = await measured(noting, [row], tmp_path)

    assert noting.notes == [
        "begun one",
        *("limit", "service", "round 1 of 2"),
        *("limit", "service", "round 2 of 2"),
        "closed",
    ]
    assert [one.ratios for one in run.compared([row])] == [[2.0, 2.0]]
    assert run.holds([row])
    assert run.is_whole([row], least_rounds=2)
    assert not run.is_whole([row], least_rounds=3)


async def test_the_rounds_asked_for_replace_those_of_the_row(tmp_path: Path) -> None:
    noting = Noting()
    row = a_row(noting, "one")

    run = await measured(noting, [row], tmp_path, rounds=4)

    assert len(run.rounds["one"]) == 4


async def test_a_row_that_fails_keeps_its_rounds_does_not_hold_and_harms_no_other(tmp_path: Path) -> None:
    def fail_in_round_2(number: int) -> None:
        if number == 2:
            raise ValueError("a call failed")

    noting = Noting()
    rows = [a_row(noting, "bad", fail_in_round_2), a_row(noting, "good")]

    run = await measured(noting, rows, tmp_path)

    assert run.failures.keys() == {"bad"}
    assert "a call failed" in run.failures["bad"]
    assert len(run.rounds["bad"]) == 1
    assert run.ended == {"good"}
    assert run.holds(rows[1:])
    assert not run.holds(rows)


async def test_what_cannot_be_measured_is_said_as_it_was_put(tmp_path: Path) -> None:
    def not_here(number: int) -> None:
        raise NotMeasured("pgbench is missing")

    noting = Noting()
    row = a_row(noting, "one", not_here)

    run = await measured(noting, [row], tmp_path)

    assert run.failures == {"one": "pgbench is missing"}
    assert run.compared([row]) == []
    assert not run.holds([row])


async def test_a_run_that_is_cancelled_has_the_rounds_that_were_complete(tmp_path: Path) -> None:
    def cancel_in_round_2(number: int) -> None:
        if number == 2:
            raise asyncio.CancelledError

    noting = Noting()
    rows = [a_row(noting, "one", cancel_in_round_2), a_row(noting, "two")]
    run = Run()

    with pytest.raises(asyncio.CancelledError):
        await conduct(rows, NO_SERVERS, tmp_path, run, noting)

    assert len(run.rounds["one"]) == 1
    assert run.ended == set()
    assert noting.notes[-1] == "closed"
