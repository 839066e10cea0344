"""What is counted while a load runs."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from order_service.pb import order_pb2
from order_service.stress.histogram import Histogram
from order_service.stress.plan import Plan, Rpc
from order_service.stress.timeline import Interval, Timeline

LATE_SECONDS: Final = 0.01
"""What is sent so long after its time is late: less is the timers' doing."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What one RPC came to: the orders that it created, by their numbers in the run, and the codes and texts of the
    others' errors."""

    accepted: Mapping[int, order_pb2.Order]
    errors: Sequence[tuple[str, str]]


@dataclass(slots=True)
class Measured:
    """Counts are of orders, latencies of RPCs. Times are seconds from the start of the load."""

    plan: Plan
    sent: int = 0
    rpcs: int = 0
    accepted: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    first_texts: dict[str, str] = field(default_factory=dict)
    late: int = 0
    latest: float = 0.0
    ended: float = 0.0
    created: Histogram = field(default_factory=Histogram)
    refused: Histogram = field(default_factory=Histogram)
    timeline: Timeline = field(default_factory=Timeline)
    recent: Interval = field(default_factory=Interval)
    acknowledged: dict[str, set[str]] = field(default_factory=dict)

    @property
    def unanswered(self) -> int:
        """Orders that were sent and not answered (yet)."""
        return self.sent - self.accepted - self.failed.total()

    def on_sent(self, rpc: Rpc, late_by: float) -> None:
        """A call was sent, so many seconds after its time."""
        self.sent += rpc.count
        self.rpcs += 1
        if late_by > LATE_SECONDS:
            self.late += rpc.count
            self.latest = max(self.latest, late_by)

    def on_answer(self, answer: Answer, at: float, seconds: float) -> None:
        """A call was answered at a time, after so many seconds. It counts as created if one of its orders was."""
        self.ended = at
        self.accepted += len(answer.accepted)
        for code, text in answer.errors:
            self.failed[code] += 1
            self.first_texts.setdefault(code, text)
        (self.created if answer.accepted else self.refused).record(seconds)
        for interval in (self.timeline.at(at), self.recent):
            interval.accepted += len(answer.accepted)
            interval.failed += len(answer.errors)
            if answer.accepted:
                interval.latencies.record(seconds)
        for number, order in answer.accepted.items():
            if self.plan.is_sampled(number):
                self.acknowledged.setdefault(order.user_id, set()).add(order.id)

    def take_recent(self) -> Interval:
        """What was answered since this was last asked."""
        taken, self.recent = self.recent, Interval()
        return taken
