"""The figures of a run, for people (lines) and for programs (JSON)."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final

from order_service.stress import bars
from order_service.stress.histogram import Histogram, Summary
from order_service.stress.measuring import Measured
from order_service.stress.outcomes import Outcomes

_BUSY: Final = 0.9
_NO_TIMES: Final = ("-",) * 4


@dataclass(frozen=True, slots=True)
class Report:
    """`interrupted` is the name of the signal that ended the run early, or empty. `cpu_share` is how much of a
    processor this program itself used while it sent. `outcomes` is None if nobody asked for them."""

    measured: Measured
    outcomes: Outcomes | None
    interrupted: str
    cpu_share: float

    @property
    def orders_per_second(self) -> float:
        """Accepted, from the first call to the last answer."""
        return self.measured.accepted / self.measured.ended if self.measured.ended else 0.0

    @property
    def problems(self) -> list[str]:
        """What is wrong with the service, a line for each."""
        return list(_problems(self.measured, self.outcomes))

    @property
    def notes(self) -> list[str]:
        """What to know before the figures are believed, a line for each."""
        return list(_notes(self))

    def as_json(self) -> dict[str, Any]:
        """These names are a contract with programs: add, never change."""
        measured, outcomes = self.measured, self.outcomes
        return {
            "ok": not self.problems,
            "problems": self.problems,
            "notes": self.notes,
            "interrupted": self.interrupted or None,
            **_plan_json(measured),
            "sent": measured.sent,
            "rpcs": measured.rpcs,
            "accepted": measured.accepted,
            "failed": measured.failed.total(),
            "failed_by_code": dict(measured.failed.most_common()),
            "unanswered": measured.unanswered,
            "elapsed_seconds": round(measured.ended, 3),
            "orders_per_second": round(self.orders_per_second, 1),
            "late": measured.late,
            "latest_seconds": round(measured.latest, 6),
            "create_seconds": _seconds_json(measured.created),
            "failed_seconds": _seconds_json(measured.refused),
            "outcome_seconds": _seconds_json(outcomes.seconds) if outcomes else None,
            "outcomes": dict(sorted(outcomes.statuses.items())) if outcomes else None,
            "cancelled_by_reason": dict(sorted(outcomes.reasons.items())) if outcomes else None,
            "missing": sorted(outcomes.missing) if outcomes else None,
            "create_histogram": _histogram_json(measured.created),
            "outcome_histogram": _histogram_json(outcomes.seconds) if outcomes else None,
            "cpu_share": round(self.cpu_share, 3),
        }

    def lines(self, width: int) -> Iterator[str]:
        """For people, on a terminal of so many columns."""
        measured, outcomes = self.measured, self.outcomes
        yield ""
        yield from _counts(self)
        yield ""
        yield f"{'':24}{'p50':>10}{'p95':>10}{'p99':>10}{'max':>10}"
        yield _times("create latency", measured.created, "RPCs")
        if measured.refused.count:
            yield _times("failed RPCs", measured.refused, "RPCs")
        if outcomes:
            yield _times("time to outcome", outcomes.seconds, f"of {outcomes.asked:,} orders asked for")
            yield from _outcomes(outcomes)
        yield from _bars("create latency", measured.created, width)
        yield from _bars("time to outcome", outcomes.seconds if outcomes else Histogram(), width)
        yield ""
        yield from (f"note: {note}" for note in self.notes)
        yield from (f"WRONG: {problem}" for problem in self.problems)
        if not self.problems:
            yield "Every order that was answered was accepted." if self.interrupted else "Every order was accepted."


def _problems(measured: Measured, outcomes: Outcomes | None) -> Iterator[str]:
    for code, count in measured.failed.most_common():
        yield f"{count:,} orders failed with {code}: {measured.first_texts[code]}"
    if outcomes and outcomes.missing:
        named = ", ".join(sorted(outcomes.missing)[:3])
        yield f"{len(outcomes.missing):,} orders were accepted and are not there: {named}"


def _notes(report: Report) -> Iterator[str]:
    measured, outcomes = report.measured, report.outcomes
    if report.interrupted:
        yield f"{report.interrupted} ended the run early: {measured.plan.num - measured.sent:,} orders were not sent"
    if measured.unanswered:
        yield f"{measured.unanswered:,} orders were sent and not answered: they may have been created"
    if measured.late:
        yield (
            f"{measured.late:,} orders could not be sent on time, the latest {bars.duration(measured.latest)} late: "
            f"--rate is more than the service, --concurrency {measured.plan.concurrency:,} or this machine takes"
        )
    if report.cpu_share > _BUSY:
        yield f"this program used {report.cpu_share:.0%} of a processor: run several for more load"
    if outcomes and outcomes.failure:
        yield f"not all could be asked for their outcome: {outcomes.failure}"
    if outcomes and outcomes.statuses["PENDING"]:
        when = "yet" if report.interrupted else "when the waiting ended (--seconds)"
        yield f"{outcomes.statuses['PENDING']:,} orders had no outcome {when}: the times are those of the others"


def _plan_json(measured: Measured) -> dict[str, Any]:
    plan = measured.plan
    return {
        "target": plan.target,
        "run_id": plan.run_id,
        "seed": plan.seed,
        "num": plan.num,
        "batch": plan.batch,
        "concurrency": plan.concurrency,
        "rate": plan.rate,
        "items": plan.items,
        "users": f"{plan.user}-{plan.run_id}-*",
    }


def _seconds_json(histogram: Histogram) -> dict[str, float] | None:
    summary = histogram.summary()
    return {name: round(value, 6) for name, value in asdict(summary).items()} if summary else None


def _histogram_json(histogram: Histogram) -> list[dict[str, float]]:
    return [
        {"from_seconds": round(row.lower, 9), "below_seconds": round(row.upper, 9), "count": row.count}
        for row in bars.rows(histogram)
    ]


def _counts(report: Report) -> Iterator[str]:
    measured = report.measured
    yield f"{'orders sent':24}{measured.sent:>10,}  in {measured.rpcs:,} RPCs"
    rate = f"{report.orders_per_second:,.1f} orders/s over {bars.duration(measured.ended)}"
    yield f"{'  accepted':24}{measured.accepted:>10,}  {rate}"
    yield f"{'  failed':24}{measured.failed.total():>10,}"
    for code, count in measured.failed.most_common():
        yield f"{f'    {code}':24}{count:>10,}"
    if measured.unanswered:
        yield f"{'  not answered':24}{measured.unanswered:>10,}"


def _times(name: str, histogram: Histogram, of: str) -> str:
    summary: Summary | None = histogram.summary()
    times = [summary.p50, summary.p95, summary.p99, summary.max] if summary else ()
    cells = [bars.duration(time) for time in times] or _NO_TIMES
    return f"{name:24}{''.join(f'{cell:>10}' for cell in cells)}  {histogram.count:,} {of}"


def _outcomes(outcomes: Outcomes) -> Iterator[str]:
    for status, count in outcomes.statuses.most_common():
        yield f"{f'  {status}':24}{count:>10,}"
        if status == "CANCELLED":
            for reason, cancelled in outcomes.reasons.most_common():
                yield f"{f'    {reason}':24}{cancelled:>10,}"


def _bars(name: str, histogram: Histogram, width: int) -> Iterator[str]:
    if histogram.count:
        yield ""
        yield name
        yield from bars.lines(histogram, max(10, min(60, width - 40)))
