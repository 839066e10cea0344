"""The figures of a run: as JSON, and as a table."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from rich.table import Column, Table

from tests.chaos.conduct import Run
from tests.chaos.measuring import in_short, recoveries
from tests.faults.history import History
from tests.faults.judge import Rule, Violation, judge, repeats

LOSSES: Final = frozenset(
    {Rule.ACKNOWLEDGED_IS_STORED, Rule.OUTCOME_IN_TIME, Rule.EVERY_EVENT, Rule.NOTHING_UNSENT, Rule.PEER_ASKED}
)
"""Rules whose breach means that something was lost; the breach of any other one is something wrong."""

_TOLD: Final = 20
_RECOVERY: Final = "How soon an order went all the way again, once what was hurt could work"


@dataclass(frozen=True, slots=True)
class Report:
    """What came of a run."""

    run: Run
    history: History
    violations: tuple[Violation, ...]
    seed: int
    seconds: float

    @property
    def kept(self) -> bool:
        """Whether every promise was kept, and no process ended that nobody killed."""
        return not self.violations and not self.run.rig.fleet.own_ends and not self.run.troubles

    def figures(self) -> dict[str, Any]:
        """What goes to the JSON file."""
        run = self.run
        severe = frozenset(name for name, kind in run.kinds.items() if kind.shape.resource != "process")
        found = recoveries(run.struck, run.traffic.acknowledged, run.timeline.outcomes, severe)
        lost = sum(violation.rule in LOSSES for violation in self.violations)
        return {
            "orders": len(self.history.orders),
            "acknowledged": len(run.traffic.acknowledged),
            "outcomes": len(run.timeline.outcomes),
            "events": len(self.history.events),
            "faults": dict(sorted(Counter(one.fault.kind for one in run.struck).items())),
            "faults_in_all": len(run.struck),
            "left_out": run.left_out,
            "lost": lost,
            "wrong": len(self.violations) - lost,
            "duplicated": repeats(self.history),
            "recovery_seconds": in_short(found),
            "noticed_seconds": {
                kind: {"median": round(sorted(seconds)[len(seconds) // 2], 2), "max": round(max(seconds), 2)}
                for kind, seconds in run.rig.noticed.items()
            },
            "failovers": run.rig.pair.failovers,
            "ended_by_themselves": run.rig.fleet.own_ends,
            "troubles_of_the_rig": run.troubles,
            "seconds": round(self.seconds, 1),
            "seed": self.seed,
            "violations": [f"{one.rule.value} {one.order_id} {one.told}".strip() for one in self.violations],
        }


def evidence(report: Report) -> Iterator[str]:
    """For each order that a promise was broken for: all that was seen of it."""
    history = report.history
    for order_id in dict.fromkeys(one.order_id for one in report.violations):
        broken = [f"{one.rule.value}: {one.told}" for one in report.violations if one.order_id == order_id]
        yield f"{order_id}: {'; '.join(broken)}"
        if order_id:
            began = report.run.began_at
            seen: list[Any] = [one for one in history.orders if one.order_id == order_id]
            seen += [
                {**event.body, "type": event.type} for event in history.events if event.body["order_id"] == order_id
            ]
            seen += [(one.entry.value, one.message_id) for one in history.stock if one.order_id == order_id]
            seen += [
                (one.rpc, f"{one.began_at - began:.2f}", f"{one.ended_at - began:.2f}", one.code, one.status)
                for one in history.calls
                if one.order_id == order_id
            ]
            yield from (f"    {one}" for one in seen)


def report_of(run: Run, history: History, seed: int, seconds: float) -> Report:
    """The judge decides."""
    return Report(run, history, tuple(judge(history)), seed, seconds)


def tables(figures: dict[str, Any]) -> list[Table]:
    """For a person."""
    totals = Table("figure", "value", title="What became of the orders", title_justify="left")
    for name in ("orders", "acknowledged", "outcomes", "events", "faults_in_all", "failovers"):
        totals.add_row(name.replace("_", " "), f"{figures[name]:,}")
    for name in ("duplicated", "lost", "wrong"):
        totals.add_row(name, f"{figures[name]:,}", style="bold" if figures[name] else "")
    headings = (Column("fault", no_wrap=True), "struck", "median", "longest", "with others", "noticed")
    faults = Table(*headings, title=_RECOVERY, title_justify="left")
    noticed = figures["noticed_seconds"]
    for kind, count in figures["faults"].items():
        recovery = figures["recovery_seconds"].get(kind, {})
        faults.add_row(
            kind,
            str(count),
            *(f"{recovery[name]:.1f} s" if name in recovery else "" for name in ("median", "max", "max_with_others")),
            f"{noticed[kind]['max']:.1f} s" if kind in noticed else "",
        )
    return [totals, faults]


def lines(figures: dict[str, Any]) -> list[str]:
    """What went wrong, in words."""
    told = [*figures["violations"][:_TOLD], *figures["ended_by_themselves"], *figures["troubles_of_the_rig"]]
    if len(figures["violations"]) > _TOLD:
        told.append(f"... and {len(figures['violations']) - _TOLD} more in build/chaos.json")
    return [f"WRONG: {line}" for line in told]
