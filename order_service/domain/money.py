"""Exact money: an amount is a whole number of a currency's minor units (ISO 4217).

Twice a number enters or leaves as something else: as a `double` (read through its shortest decimal text, so 19.99 is
19.99), and as google.type.Money (units and nanos).
"""

import math
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import Final

import iso4217

MAX_MINOR: Final = 999_999_999_999_999
"""The greatest amount in minor units: 15 digits, which every double carries without loss (IEEE 754, DBL_DIG)."""

_NANOS: Final = 1_000_000_000
_NANO_DIGITS: Final = 9


class BadAmount(ValueError):
    """A number that is no amount of the currency; the text says why, for the caller."""


@dataclass(frozen=True, slots=True)
class Money:
    """`minor` units of `currency`: Money("EUR", 1999) is 19.99 euros."""

    currency: str
    minor: int

    def decimal(self) -> Decimal:
        """The amount in major units, with exactly the currency's decimals: 19.90, not 19.9."""
        return Decimal(self.minor).scaleb(-minor_digits(self.currency))

    def units_and_nanos(self) -> tuple[int, int]:
        """The amount as google.type.Money has it."""
        per_unit = _minor_per_unit(self.currency)
        units, rest = divmod(self.minor, per_unit)
        return units, rest * (_NANOS // per_unit)

    def double(self) -> float:
        """The double nearest to the amount: both numbers are exact, so one division rounds it right."""
        return self.minor / _minor_per_unit(self.currency)

    def __str__(self) -> str:
        return f"{self.decimal()} {self.currency}"


@cache
def minor_digits(currency: str) -> int:
    """How many decimals the currency has (ISO 4217): 2 for EUR, 0 for JPY. Raises BadAmount if there is no such one."""
    try:
        digits = iso4217.Currency(currency).exponent
    except ValueError:
        digits = None
    if digits is None:
        raise BadAmount("is not an ISO 4217 currency that money is counted in")
    return digits


@cache
def _minor_per_unit(currency: str) -> int:
    return int(10 ** minor_digits(currency))


def from_double(value: float, currency: str) -> Money:
    """The amount that a double stands for, through its shortest decimal text. Raises BadAmount.

    An amount whose nearest double it is, is the one: no other number of 15 digits has the same double (IEEE 754), so
    the shortest text is that of the amount. Finding it so takes a third of the time."""
    if not math.isfinite(value):
        raise BadAmount("must be a finite number")
    if 0 <= value <= MAX_MINOR:
        nearest = Money(currency, round(value * _minor_per_unit(currency)))
        if nearest.minor <= MAX_MINOR and nearest.double() == value:
            return nearest
    return _checked(Decimal(repr(value)).scaleb(minor_digits(currency)), currency)


def from_units_and_nanos(units: int, nanos: int, currency: str) -> Money:
    """The amount that a google.type.Money stands for. Raises BadAmount."""
    if not -_NANOS < nanos < _NANOS or units * nanos < 0:
        raise BadAmount("nanos must be between -999,999,999 and 999,999,999 and have the sign of units")
    exact = Decimal(units) + Decimal(nanos).scaleb(-_NANO_DIGITS)
    return _checked(exact.scaleb(minor_digits(currency)), currency)


def _checked(minor: Decimal, currency: str) -> Money:
    if minor < 0:
        raise BadAmount("must not be negative")
    if minor > MAX_MINOR:
        raise BadAmount(f"is above the greatest amount, {Money(currency, MAX_MINOR)}")
    whole = int(minor)
    if whole != minor:
        raise BadAmount(f"has more than the {minor_digits(currency)} decimals of {currency}")
    return Money(currency, whole)
