"""The figures of a run for people (a table) and for programs (JSON)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from rich import box
from rich.table import Table
from rich.text import Text

from order_service.demo.checks import problems
from order_service.demo.counting import Percentiles
from order_service.demo.figures import Figures

_MILLISECONDS: Final = 1_000


@dataclass(frozen=True, slots=True)
class Report:
    """Figures and their judgement. `elapsed_seconds` from the first order until all was quiet."""

    figures: Figures
    elapsed_seconds: float
    servers: Sequence[str]

    @property
    def problems(self) -> list[str]:
        """What is wrong, a line for each."""
        return problems(self.figures)

    def as_json(self) -> dict[str, Any]:
        """These names are a contract with programs: add, never change."""
        figures, wrong = self.figures, self.problems
        return {
            "ok": not wrong,
            "problems": wrong,
            "orders": figures.orders,
            "by_outcome": dict(sorted(figures.by_outcome.items())),
            "by_reason": dict(sorted(figures.by_reason.items())),
            "events_published": figures.events_published,
            "events_distinct": figures.events_distinct,
            "events_repeated": figures.events_published - figures.events_distinct,
            "duplicates_ignored": figures.duplicates_ignored,
            "late_replies": figures.late_replies,
            "releases": figures.releases,
            "compensations": figures.compensations,
            "parked": figures.parked,
            "seconds": _seconds_json(figures.seconds),
            "seconds_answered_in_time": _seconds_json(figures.seconds_answered_in_time),
            "lost": figures.lost,
            "lost_orders": len(figures.lost_orders),
            "lost_events": len(figures.lost_events),
            "stock_mismatches": len(figures.stock_mismatches),
            "calls_failed": len(figures.failures),
            "elapsed_seconds": round(self.elapsed_seconds, 2),
            "servers": list(self.servers),
            "run_id": figures.run_id,
            "seed": figures.seed,
        }

    def table(self) -> Table:
        """The same for people: figure, value, and whose word it is."""
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
        table.add_column("figure", no_wrap=True)
        table.add_column("value", no_wrap=True, justify="right")
        table.add_column("counted from", no_wrap=True, style="dim")
        for row in _rows(self.figures):
            table.add_row(*(Text(cell) for cell in row))
        return table


def _rows(figures: Figures) -> Iterator[tuple[str, str, str]]:
    yield "orders acknowledged", f"{figures.orders:,}", "answers of CreateOrder"
    yield from _counts("  ", figures.by_outcome)
    yield from _counts("    ", figures.by_reason)
    yield "events published", f"{figures.events_published:,}", "a queue bound with #"
    yield "  distinct message ids", f"{figures.events_distinct:,}", "the same"
    yield "  in the history", f"{figures.events_in_history:,}", "the database"
    yield "repeated replies ignored", f"{figures.duplicates_ignored:,}", "/metrics of the worker"
    yield "late replies", f"{figures.late_replies:,}", "/metrics of the worker"
    yield "stock releases requested", f"{figures.releases:,}", "the database"
    yield "compensations", f"{figures.compensations:,}", "/metrics of worker and api"
    yield "messages parked (1 poison)", f"{figures.parked:,}", "the database"
    yield "seconds p50, p95, p99", _seconds_text(figures.seconds), "the database"
    yield "  answered in time", _seconds_text(figures.seconds_answered_in_time), "the database"
    yield "lost", f"{figures.lost:,}", "all of these, compared"


def _counts(indent: str, counts: Mapping[str, int]) -> Iterator[tuple[str, str, str]]:
    """The most frequent first; but the reasons for which orders were cancelled follow CANCELLED."""
    for name, count in sorted(counts.items(), key=lambda item: (item[0] == "CANCELLED", -item[1])):
        yield f"{indent}{name}", f"{count:,}", "the database"


def _seconds_text(seconds: Percentiles | None) -> str:
    return f"{seconds.p50:.3f}  {seconds.p95:.3f}  {seconds.p99:.3f}" if seconds else "-"


def _seconds_json(seconds: Percentiles | None) -> dict[str, float] | None:
    return {name: round(value, 4) for name, value in asdict(seconds).items()} if seconds else None
