"""How the text of a variable is read: each kind says in words what it takes, and turns the text into a value."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import IPv6Address
from typing import TypeVar
from urllib.parse import SplitResult, urlsplit

from order_service.domain.money import minor_digits

_DURATION = re.compile(r"(?:#h)?(?:#m)?(?:#s)?(?:#ms)?".replace("#", r"([0-9]{1,9}(?:\.[0-9]{1,9})?)"))
_WHOLE_NUMBER = re.compile(r"[0-9]{1,9}")
_HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_HOST_AND_PORT = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[^:\[\]\s]+)(:[0-9]{1,5})?")
_LINE = re.compile(r"[^\x00-\x1f\x7f]{1,255}")
_SWITCH = {"on": True, "true": True, "yes": True, "1": True, "off": False, "false": False, "no": False, "0": False}
_YEAR = timedelta(days=366)

_Ordered = TypeVar("_Ordered", int, float, timedelta)


@dataclass(frozen=True, slots=True)
class Kind:
    """`words` follow "must be" in a message. `parse` raises ValueError for any other text; what that error says is
    never shown, because the text may be a secret. `absent` is the value of a variable that is not set."""

    words: str
    parse: Callable[[str], object]
    absent: object = None


def whole_number(low: int, high: int) -> Kind:
    """From `low` to `high`."""
    return Kind(f"a whole number from {low} to {high}", lambda text: _within(low, _integer(text), high))


def ratio() -> Kind:
    """From 0 to 1."""
    return Kind("a number from 0 to 1", lambda text: _within(0.0, float(text), 1.0))


def duration(at_least: timedelta = timedelta(milliseconds=1), at_most: timedelta = _YEAR) -> Kind:
    """As Go writes durations, in hours, minutes, seconds and milliseconds."""
    bounds = f"from {at_least.total_seconds():g}s to {at_most.total_seconds():g}s"
    words = f"a duration such as 500ms, 60s, 1m30s or 24h, {bounds}"
    return Kind(words, lambda text: _within(at_least, _timedelta(text), at_most))


def one_of(*choices: str) -> Kind:
    """One of the words, in any case."""
    return Kind(f"one of {', '.join(choices)}", lambda text: choices[choices.index(text.lower())])


def _within(low: _Ordered, value: _Ordered, high: _Ordered) -> _Ordered:
    if not low <= value <= high:
        raise ValueError
    return value


def _integer(text: str) -> int:
    if not _WHOLE_NUMBER.fullmatch(text):
        raise ValueError
    return int(text)


def _timedelta(text: str) -> timedelta:
    parts = _DURATION.fullmatch(text)
    if not text or not parts:
        raise ValueError
    hours, minutes, seconds, milliseconds = (float(part or 0) for part in parts.groups())
    return timedelta(hours=hours, minutes=minutes, seconds=seconds, milliseconds=milliseconds)


def _switch(text: str) -> bool:
    if text.lower() not in _SWITCH:
        raise ValueError
    return _SWITCH[text.lower()]


def _host(text: str) -> str:
    bare = text.removeprefix("[").removesuffix("]")
    if ":" in bare:
        return f"[{IPv6Address(bare)}]"
    return _matching(_HOST_NAME, text)


def _matching(pattern: re.Pattern[str], text: str) -> str:
    if not pattern.fullmatch(text):
        raise ValueError
    return text


def _currency(text: str) -> str:
    minor_digits(text)
    return text


def _split(url: str, schemes: tuple[str, ...]) -> SplitResult:
    parts = urlsplit(url)
    if parts.scheme not in schemes:
        raise ValueError
    return parts


def _database_url(text: str) -> str:
    """libpq takes several hosts, and a host as a parameter."""
    parts = _split(_matching(re.compile(r"\S+"), text), ("postgres", "postgresql"))
    hosts = parts.netloc.rpartition("@")[2]
    if hosts or "host=" not in parts.query:
        for host in hosts.split(","):
            _matching(_HOST_AND_PORT, host)
    return text


def _broker_urls(text: str) -> tuple[str, ...]:
    urls = tuple(url.strip() for url in text.split(","))
    for url in urls:
        _matching(_HOST_AND_PORT, _split(url, ("amqp", "amqps")).netloc.rpartition("@")[2])
    return urls


def _http_url(text: str) -> str:
    _matching(_HOST_AND_PORT, _split(text, ("http", "https")).netloc.rpartition("@")[2])
    return text


def _endpoint(text: str) -> str:
    parts = urlsplit(text if "://" in text else f"http://{text}")
    if parts.scheme not in ("http", "https"):
        raise ValueError
    _matching(_HOST_AND_PORT, parts.netloc)
    return text


PORT = Kind(
    "a port from 0 (any free one) to 65535, with or without a colon",
    lambda text: _within(0, _integer(text.removeprefix(":")), 65_535),
)
SWITCH = Kind("on or off", _switch)
HOST = Kind("a host name or an IP address", _host)
CURRENCY = Kind("an ISO 4217 currency such as USD", _currency)
TEXT = Kind("one line of at most 255 characters", lambda text: _matching(_LINE, text))
ENDPOINT = Kind("host:port, http://host:port or https://host:port", _endpoint)
DATABASE_URL = Kind(
    "a URL such as postgres://user:password@host:5432/database, with special characters percent-encoded",
    _database_url,
    absent="",
)
BROKER_URLS = Kind(
    "one or more URLs such as amqp://user:password@host:5672/, parted by commas, with special characters "
    "percent-encoded",
    _broker_urls,
    absent=(),
)
HTTP_URL = Kind(
    "a URL such as http://user:password@host:15672, with special characters percent-encoded", _http_url, absent=""
)
