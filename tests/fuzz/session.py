"""Round after round of garbage, and what was found."""

import statistics
import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import hypothesis
from hypothesis import HealthCheck, Phase
from hypothesis.errors import HypothesisWarning

from tests.fuzz.targets import Target, targets
from tests.fuzz.under_test import UnderTest, wait_until

SLACK_KIB = 32 * 1024
"""So much may a process grow after its warm-up. What is compared is the highest sample of the warm-up with the lowest
of the end: messages of megabytes leave buffers behind for a while, which come and go; a leak stays."""

_LARGEST_NOTE = 4_000
_LAST_SAMPLES = 20
"""About a round: one sample is taken after each kind of garbage."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that does not hold. `seed` brings it again in the first round."""

    target: str
    seed: int
    told: str


@dataclass(slots=True)
class Report:
    """What a session did and found."""

    seed: int
    seconds: float = 0.0
    rounds: int = 0
    requests: int = 0
    healthy_orders: int = 0
    refused_by_the_broker: int = 0
    replies: int = 0
    parked: int = 0
    examples: Counter[str] = field(default_factory=Counter)
    warm_kib: dict[str, int] = field(default_factory=dict)
    end_kib: dict[str, int] = field(default_factory=dict)
    kib_per_1000_requests: dict[str, float] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"examples": dict(self.examples)}


@dataclass(frozen=True, slots=True)
class Sample:
    """The memory of the processes (RSS, in KiB) after so many requests and messages."""

    requests: int
    kib: dict[str, int]


def growth(samples: Sequence[Sample], process: str) -> float:
    """KiB for each 1,000 requests and messages, by the line that fits the samples best."""
    if len({sample.requests for sample in samples}) < 2:
        return 0.0
    line = statistics.linear_regression(
        [sample.requests for sample in samples], [sample.kib[process] for sample in samples]
    )
    return round(line.slope * 1_000, 1)


@dataclass(slots=True)
class Session:
    """Works on `under_test` until `seconds` are over, at least one round; `say` is told of what goes on."""

    under_test: UnderTest
    seed: int
    seconds: float
    examples: int
    say: Callable[[str], None]
    report: Report = field(init=False)
    samples: list[Sample] = field(default_factory=list)
    warm: int = 0
    """So many samples were taken until the processes were warm."""

    def __post_init__(self) -> None:
        self.report = Report(self.seed)

    def run(self) -> Report:
        """The report; after Ctrl-C, of what was done so far."""
        began = time.monotonic()
        try:
            self._rounds(began + self.seconds)
            if self.report.rounds:
                self._check("in the end", self.seed, self._assert_settled)
        except KeyboardInterrupt:
            self.say("interrupted")
        self._measure(time.monotonic() - began)
        return self.report

    def _rounds(self, ends: float) -> None:
        everything = targets(self.under_test)
        quarter = time.monotonic() + self.seconds / 4
        while not self.report.rounds or time.monotonic() < ends:
            for target in everything:
                if self.report.rounds and time.monotonic() > ends:
                    break
                if not self._attack(target, self.seed + self.report.rounds):
                    return
            self.report.rounds += 1
            if not self.warm or time.monotonic() < quarter:
                self.warm = len(self.samples)
            self.say(
                f"round {self.report.rounds}: {self.under_test.requests} requests and messages,"
                f" {len(self.report.findings)} findings, RSS in KiB {self.samples[-1].kib}"
            )

    def _attack(self, target: Target, seed: int) -> bool:
        """So many examples of one kind; whether both processes still serve. What was found once is not looked for
        again."""
        if any(finding.target == target.name for finding in self.report.findings):
            return True

        def one(example: Any) -> None:
            self.report.examples[target.name] += 1
            target.check(example)

        settings = hypothesis.settings(
            max_examples=self.examples,
            database=None,
            deadline=None,
            phases=(Phase.generate, Phase.shrink),
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        )
        given = hypothesis.given(target.examples)(one)
        with warnings.catch_warnings():
            # It thinks that we use `random`, which the threads of the client do, and that examples are too long.
            warnings.simplefilter("ignore", HypothesisWarning)
            self._check(target.name, seed, settings(hypothesis.seed(seed)(given)))
        is_well = self._check(f"what {target.name} left behind", seed, self.under_test.assert_well)
        if is_well:
            self.samples.append(Sample(self.under_test.requests, self.under_test.resident_kib()))
        return is_well

    def _check(self, name: str, seed: int, check: Callable[[], None]) -> bool:
        try:
            check()
            return True
        except Exception as error:
            notes = "\n".join(getattr(error, "__notes__", ()))
            finding = Finding(name, seed, f"{type(error).__name__}: {error}\n{notes}"[:_LARGEST_NOTE])
            self.report.findings.append(finding)
            self.say(f"FOUND in {name}, seed {seed}: {finding.told}")
            return False

    def _assert_settled(self) -> None:
        self.under_test.assert_well()
        self.under_test.wait_for_healthy()
        wait_until(self._everything_is_accounted_for, 60, "what was consumed is not what was sent")
        for process in self.under_test.processes:
            grown = self._lowest_in_the_end(process) - self._highest_when_warm(process)
            assert grown <= SLACK_KIB, f"the {process} grew by {grown} KiB since its warm-up"

    def _highest_when_warm(self, process: str) -> int:
        return max(sample.kib[process] for sample in self.samples[: max(1, self.warm)])

    def _lowest_in_the_end(self, process: str) -> int:
        return min(sample.kib[process] for sample in self.samples[-_LAST_SAMPLES:])

    def _everything_is_accounted_for(self) -> bool:
        """Each message the broker took was applied, a duplicate, late, ignored, unknown or parked. One that it refused
        may have come through all the same."""
        sent = self.under_test.wire.taken + self.under_test.wire.answered
        return sent <= self._replies() <= sent + self.under_test.wire.refused

    def _replies(self) -> int:
        return int(self.under_test.worker.metric("order_service_replies_total"))

    def _measure(self, seconds: float) -> None:
        self.report.seconds = round(seconds, 1)
        self.report.requests = self.under_test.requests
        self.report.healthy_orders = self.under_test.healthy
        self.report.refused_by_the_broker = self.under_test.wire.refused
        for process in self.under_test.processes if self.samples else ():
            self.report.warm_kib[process] = self._highest_when_warm(process)
            self.report.end_kib[process] = self._lowest_in_the_end(process)
            self.report.kib_per_1000_requests[process] = growth(self.samples[self.warm :], process)
        self.report.replies = self._replies()
        ((self.report.parked,),) = self.under_test.rows("select count(*) from order_service.parked_messages")
