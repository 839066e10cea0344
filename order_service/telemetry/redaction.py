"""Keeps credentials out of what is told: in URLs, in connection strings, and under names that say secret."""

import re
from collections.abc import Mapping
from datetime import date, time, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final
from uuid import UUID

HIDDEN: Final = "***"

# The password ends at the last "@" before a space, a quote or the next URL: one that nobody percent-encoded may itself
# hold "@", ":" and "/".
_IN_URL = re.compile(r"""([a-z][a-z0-9+.-]*://[^\s:/?#@"'<>]*):(?:(?!://)[^\s"'<>])*@""", re.IGNORECASE)
_ASSIGNED = re.compile(
    r"""((?:password|passwd|secret|token)(?:\s*=\s*|["']\s*:\s*))(?:'[^']*'|"[^"]*"|[^\s&,;)'"]+)""", re.IGNORECASE
)
_SECRET_NAME = re.compile(r"password|passwd|secret|token", re.IGNORECASE)
_PLAIN = (int, float, Decimal, UUID, date, time, timedelta)
_MOST_COMMON = frozenset({int, float, bool, type(None)})


def redacted(text: str) -> str:
    """The text, with `***` for each password: in a URL (`scheme://user:***@host`), after `password=` and its like."""
    if "://" in text:
        text = _IN_URL.sub(rf"\1:{HIDDEN}@", text)
    if "=" in text or ":" in text:
        text = _ASSIGNED.sub(rf"\1{HIDDEN}", text)
    return text


def redacted_value(value: object) -> object:
    """The value without credentials, at any depth. What is neither text, number, time nor collection becomes text."""
    if type(value) in _MOST_COMMON:
        return value
    match value:
        case str():
            return redacted(value)
        case Mapping():
            return redacted_entries(value)
        case list() | tuple() | set() | frozenset():
            return [redacted_value(item) for item in value]
        case _:
            return value if isinstance(value, _PLAIN) else redacted(repr(value))


def redacted_entries(entries: Mapping[Any, object]) -> dict[str, object]:
    """The entries without credentials, and `***` for whatever is named like a secret."""
    return {
        str(name): HIDDEN if _says_secret(str(name)) and value else redacted_value(value)
        for name, value in entries.items()
    }


@lru_cache(maxsize=1_024)
def _says_secret(name: str) -> bool:
    return _SECRET_NAME.search(name) is not None
