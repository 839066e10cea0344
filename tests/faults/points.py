"""The points at which something is broken: which process, in which phase, how, and at which message. Pure."""

import re
from collections import deque
from dataclasses import dataclass, field
from enum import StrEnum

from tests.faults.wire import Act, Message, Plan


class Process(StrEnum):
    """The process that is put behind the wire; everything else around it is left alone."""

    API = "api"
    WORKER = "worker"


class Phase(StrEnum):
    """What the process is doing when the first message counts."""

    AT_WORK = "at work"
    """It has been running, and gets a script of orders."""
    STARTING = "starting"
    """It starts while the orders of a script already wait for it, until it says that it is ready."""


class Mode(StrEnum):
    """What is done at the message."""

    KILL_BEFORE = "kill-before"
    KILL_AFTER = "kill-after"
    CUT = "cut"
    HANG = "hang"

    @property
    def act(self) -> Act:
        """The same, as the wire calls it."""
        return _ACTS[self]

    @property
    def kills(self) -> bool:
        """Whether the process dies of it."""
        return self in (Mode.KILL_BEFORE, Mode.KILL_AFTER)


_ACTS = {
    Mode.KILL_BEFORE: Act.STRIKE_BEFORE,
    Mode.KILL_AFTER: Act.STRIKE_AFTER,
    Mode.CUT: Act.CUT,
    Mode.HANG: Act.HANG,
}


@dataclass(frozen=True, slots=True)
class Series:
    """All points of one process, phase and mode: one for each message."""

    process: Process
    phase: Phase
    mode: Mode

    def __str__(self) -> str:
        return f"{self.process}{'-start' if self.phase is Phase.STARTING else ''}:{self.mode}"


@dataclass(frozen=True, slots=True)
class Point:
    """One of them: message `number`, counted from 1."""

    series: Series
    number: int

    def __str__(self) -> str:
        return f"{self.series}:{self.number}"

    @property
    def plan(self) -> Plan:
        """What the wire is told."""

        def plan(message: Message) -> Act:
            return self.series.mode.act if message.number == self.number else Act.PASS

        return plan


ALL_SERIES = tuple(Series(process, phase, mode) for process in Process for phase in Phase for mode in Mode)


def parse_point(text: str) -> Point:
    """The point that is written so, such as "api:kill-before:137" or "worker-start:hang:3". Raises ValueError."""
    match = re.fullmatch(r"(api|worker)(-start)?:(kill-before|kill-after|cut|hang):([1-9][0-9]*)", text)
    if match is None:
        raise ValueError(f"{text!r} is no point; one is written like api:kill-before:137 or worker-start:hang:3")
    phase = Phase.STARTING if match[2] else Phase.AT_WORK
    return Point(Series(Process(match[1]), phase, Mode(match[3])), int(match[4]))


@dataclass(slots=True)
class Enumeration:
    """Counts the messages of a series upwards, until runs end before they get there.

    How many messages a run has differs a little from one to the next, as what waits polls. So a run that ended too
    early says nothing: its message is tried again, and more often if later ones were reached. The end is where so many
    messages in a row could not be reached, each in so many runs.
    """

    series: Series
    first: int = 1
    last: int | None = None
    misses_needed: int = 3
    retries: int = 6
    reached: set[int] = field(default_factory=set)
    _missed: dict[int, int] = field(default_factory=dict)
    _again: deque[int] = field(default_factory=deque)
    _next: int = 0
    _under_way: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._next = self.first

    def take(self) -> Point | None:
        """The next point to try; None if there is none now (see `is_over`)."""
        number = self._again.popleft() if self._again else self._fresh()
        if number is None:
            return None
        self._under_way.add(number)
        return Point(self.series, number)

    def tell(self, number: int, reached: bool) -> None:
        """Whether a run that was to be broken at message `number` got there."""
        self._under_way.discard(number)
        if reached:
            self.reached.add(number)
            self._missed.pop(number, None)
        else:
            self._missed[number] = self._missed.get(number, 0) + 1
        self._try_again()

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to try, and nothing is under way."""
        return not self._under_way and not self._again and self._fresh(peek=True) is None

    @property
    def end(self) -> int:
        """The greatest number of a message that was reached."""
        return max(self.reached, default=0)

    def _fresh(self, peek: bool = False) -> int | None:
        if self.last is not None and self._next > self.last:
            return None
        if self._next > self.end and self._misses_after_the_end() >= self.misses_needed:
            return None
        if not peek:
            self._next += 1
        return self._next if peek else self._next - 1

    def _misses_after_the_end(self) -> int:
        return sum(number > self.end for number in self._missed)

    def _try_again(self) -> None:
        for number, times in self._missed.items():
            waits = number in self._again or number in self._under_way
            if times < (self.retries if number < self.end else self.misses_needed) and not waits:
                self._again.append(number)
