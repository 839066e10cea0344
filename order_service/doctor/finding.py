"""What a check has found."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """Whether what was found is what the promise rests on."""

    OK = "ok"
    MISSING = "missing"
    """Something acknowledged can be lost, or the service cannot work."""
    ADVICE = "advice"
    """It works, and something is then not covered."""
    NOT_CHECKED = "not checked"


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: what was found, what is wanted, and how to get there unless all is well."""

    server: str
    check: str
    found: str
    wanted: str
    verdict: Verdict
    how: str = ""


@dataclass(frozen=True, slots=True)
class Server:
    """Makes the findings about one server."""

    name: str

    def missing_unless(self, good: bool, check: str, found: object, wanted: str, how: str) -> Finding:
        """`missing` unless all is well."""
        return self._judged(good, Verdict.MISSING, check, found, wanted, how)

    def advice_unless(self, good: bool, check: str, found: object, wanted: str, how: str) -> Finding:
        """`advice` unless all is well."""
        return self._judged(good, Verdict.ADVICE, check, found, wanted, how)

    def not_checked(self, check: str, why: str, wanted: str, how: str) -> Finding:
        """What could not be read, and how to let it be."""
        return Finding(self.name, check, why, wanted, Verdict.NOT_CHECKED, how)

    def _judged(self, good: bool, otherwise: Verdict, check: str, found: object, wanted: str, how: str) -> Finding:
        if good:
            return Finding(self.name, check, str(found), wanted, Verdict.OK)
        return Finding(self.name, check, str(found), wanted, otherwise, how)


def listed(names: Iterable[object], none: str = "none") -> str:
    """Names in a line, the first few of many."""
    texts = [str(name) for name in names]
    shown = ", ".join(texts[:5]) + (f" and {len(texts) - 5} more" if len(texts) > 5 else "")
    return shown or none
