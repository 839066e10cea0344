"""What a campaign found, in figures."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from rich.table import Table

from tests.faults.campaign import Failed
from tests.faults.points import Mode, Point
from tests.faults.rules import Rule, Violation
from tests.faults.trying import Tried

LOST: Final = frozenset(
    {
        Rule.ACKNOWLEDGED_IS_STORED,
        Rule.OUTCOME_IN_TIME,
        Rule.NOTHING_UNSENT,
        Rule.EVERY_EVENT,
        Rule.PEER_ASKED,
        Rule.UNDONE_IF_CANCELLED,
    }
)
"""The rules of which a breach means that something is gone: an order, an event, an outcome, an undoing."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a point was: what the rows of the table are."""

    process: str
    phase: str
    protocol: str
    direction: str


@dataclass(frozen=True, slots=True)
class Finding:
    """A point at which something was not as promised."""

    point: Point
    at: str
    told: tuple[str, ...]
    evidence: str


@dataclass(slots=True)
class Report:
    """Filled point by point, so that it can be shown at any time."""

    seed: int
    tried: Counter[tuple[Place, Mode]] = field(default_factory=Counter)
    unreached: int = 0
    lost: int = 0
    wrong: int = 0
    duplicated: int = 0
    slowest: dict[Mode, tuple[float, str]] = field(default_factory=dict)
    """For each mode the longest time until all was settled, and the point after which it was."""
    findings: list[Finding] = field(default_factory=list)
    planted: list[tuple[str, str]] = field(default_factory=list)
    """Each planted bug, and what caught it: empty if nothing did."""
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    """Of this program, the servers and the service together."""

    @property
    def points(self) -> int:
        """How many points were tried: faults that happened."""
        return sum(self.tried.values())

    @property
    def caught(self) -> int:
        """How many of the planted bugs were found out."""
        return sum(bool(by) for _, by in self.planted)

    @property
    def is_good(self) -> bool:
        """Whether nothing was lost or wrong, and no planted bug survived."""
        return not self.lost and not self.wrong and self.caught == len(self.planted)

    def add(self, tried: Tried | Failed, evidence: str) -> None:
        """One more point, and where what was kept of it is."""
        if isinstance(tried, Failed):
            self.wrong += 1
            self.findings.append(Finding(tried.point, "", (tried.told,), evidence))
            return
        if tried.message is None:
            self.unreached += 1
        else:
            mode = tried.point.series.mode
            self.tried[place_of(tried), mode] += 1
            self.slowest[mode] = max(self.slowest.get(mode, (0.0, "")), (tried.settled_after, str(tried.point)))
        self.duplicated += tried.repeats
        self.lost += sum(violation.rule in LOST for violation in tried.violations)
        self.wrong += sum(violation.rule not in LOST for violation in tried.violations) + len(tried.notes)
        if not tried.kept:
            self.findings.append(Finding(tried.point, message_of(tried), tuple(_told(tried)), evidence))

    def as_json(self) -> dict[str, Any]:
        """The figures, and what was found."""
        return {
            "points": self.points,
            "lost": self.lost,
            "duplicated": self.duplicated,
            "wrong": self.wrong,
            "planted_bugs": len(self.planted),
            "caught": self.caught,
            "seed": self.seed,
            "seconds": round(self.seconds, 1),
            "cpu_seconds": round(self.cpu_seconds, 1),
            "runs_that_ended_before_their_message": self.unreached,
            "longest_settling": {
                mode.value: {"seconds": round(seconds, 1), "point": point}
                for mode, (seconds, point) in self.slowest.items()
            },
            "tried": [
                {
                    "process": place.process,
                    "phase": place.phase,
                    "protocol": place.protocol,
                    "direction": place.direction,
                    "mode": mode.value,
                    "points": count,
                }
                for (place, mode), count in sorted(self.tried.items(), key=str)
            ],
            "planted": [{"bug": bug, "caught_by": by} for bug, by in self.planted],
            "findings": [
                {"point": str(one.point), "at": one.at, "told": list(one.told), "evidence": one.evidence}
                for one in self.findings
            ],
        }

    def table(self) -> Table:
        """How many messages were broken, by where and how."""
        table = Table(title="points tried", title_justify="left", show_footer=True)
        table.add_column("process", footer="all")
        for name in ("phase", "protocol", "direction"):
            table.add_column(name)
        for mode in Mode:
            total = sum(count for (_, one), count in self.tried.items() if one is mode)
            table.add_column(mode.value, justify="right", footer=f"{total:,}")
        for place in sorted({place for place, _ in self.tried}, key=str):
            counts = (self.tried[place, mode] for mode in Mode)
            cells = (place.process, place.phase, place.protocol, place.direction)
            table.add_row(*cells, *(f"{count:,}" if count else "-" for count in counts))
        return table

    def lines(self) -> Iterator[str]:
        """What to read after the table."""
        for finding in self.findings:
            yield f"{finding.point}  {finding.at}"
            yield from (f"    {told}" for told in finding.told)
            yield f"    kept in {finding.evidence}"
        for bug, by in self.planted:
            yield f"planted bug {'caught' if by else 'SURVIVED'}: {bug}{f' (by {by})' if by else ''}"
        longest = ", ".join(f"{seconds:.1f} s ({point})" for seconds, point in self.slowest.values())
        yield f"longest until all was settled: {longest or 'nothing was tried'}"
        planted = f", {self.caught} of {len(self.planted)} planted bugs caught" if self.planted else ""
        yield (
            f"{self.points:,} points in {self.seconds / 60:.1f} minutes: {self.lost} lost, {self.wrong} wrong, "
            f"{self.duplicated:,} events sent twice{planted}"
        )


def place_of(tried: Tried) -> Place:
    """Which row of the table it belongs to."""
    series, message = tried.point.series, tried.message
    protocol, direction = (message.protocol.value, message.direction.value) if message else ("", "")
    return Place(series.process.value, series.phase.value, protocol, direction)


def message_of(tried: Tried) -> str:
    """At which message it was, in words."""
    message = tried.message
    return f"{message.protocol} {message.direction} {message.name}" if message else "the run ended before it"


def _told(tried: Tried) -> Iterable[str]:
    yield from (_violation(violation) for violation in tried.violations)
    yield from tried.notes


def _violation(violation: Violation) -> str:
    order = f" (order {violation.order_id})" if violation.order_id else ""
    return f"{violation.rule.value}: {violation.told}{order}"
