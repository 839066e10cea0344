"""Money is exact: whatever enters or leaves as something else comes back as it was, or is refused."""

import math
from decimal import Decimal

import iso4217
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from order_service.domain.money import (
    MAX_MINOR,
    BadAmount,
    Money,
    from_double,
    from_units_and_nanos,
    minor_digits,
)

COUNTED = sorted(currency.code for currency in iso4217.Currency if currency.exponent is not None)
UNCOUNTED = sorted(currency.code for currency in iso4217.Currency if currency.exponent is None)
NANOS = 10**9

currencies = st.sampled_from(COUNTED)
amounts = st.integers(0, MAX_MINOR) | st.sampled_from([0, 1, 99, 100, 101, 1999, MAX_MINOR - 1, MAX_MINOR])
hundredths = amounts.map(lambda minor: minor / 100)


def beside(value: float) -> float:
    """The next greater double."""
    return math.nextafter(value, math.inf)


@settings(deadline=None)
@given(amounts, currencies)
def test_an_amount_survives_being_a_double(minor: int, currency: str) -> None:
    money = Money(currency, minor)

    assert from_double(minor / 10 ** minor_digits(currency), currency) == money
    assert from_double(float(money.decimal()), currency) == money


@settings(deadline=None)
@given(amounts, currencies)
def test_an_amount_survives_being_a_google_money(minor: int, currency: str) -> None:
    money = Money(currency, minor)

    units, nanos = money.units_and_nanos()

    assert from_units_and_nanos(units, nanos, currency) == money
    assert 0 <= nanos < NANOS
    assert units * NANOS + nanos == minor * 10 ** (9 - minor_digits(currency))


@settings(deadline=None)
@given(st.floats() | hundredths | hundredths.map(beside), currencies)
def test_a_double_is_taken_at_its_shortest_decimal_text_or_refused(value: float, currency: str) -> None:
    try:
        money = from_double(value, currency)
    except BadAmount:
        assert not _is_amount(value, currency)
    else:
        assert money.decimal() == Decimal(repr(value))
        assert _is_amount(value, currency)


def _is_amount(value: float, currency: str) -> bool:
    """The rule once more, by text: finite, not negative, not too many decimals, not above the greatest amount."""
    if not math.isfinite(value) or value < 0:
        return False
    _, _, decimals = f"{Decimal(repr(value)):f}".partition(".")
    minor = Decimal(repr(value)) * 10 ** minor_digits(currency)
    return len(decimals.rstrip("0")) <= minor_digits(currency) and minor <= MAX_MINOR


@settings(deadline=None)
@given(st.integers(-(2**63), 2**63 - 1), st.integers(-(2**31), 2**31 - 1), currencies)
def test_a_google_money_is_taken_to_the_last_nano_or_refused(units: int, nanos: int, currency: str) -> None:
    exact = units * NANOS + nanos
    step = 10 ** (9 - minor_digits(currency))
    well_formed = -NANOS < nanos < NANOS and units * nanos >= 0
    fits = 0 <= exact <= MAX_MINOR * step and exact % step == 0
    try:
        money = from_units_and_nanos(units, nanos, currency)
    except BadAmount:
        assert not (well_formed and fits)
    else:
        assert well_formed
        assert money == Money(currency, exact // step)
        assert fits


@pytest.mark.parametrize(
    ("value", "currency", "minor"),
    [
        (19.99, "USD", 1999),
        (0.1, "EUR", 10),
        (0.01, "EUR", 1),
        (1e2, "EUR", 10_000),
        (1.1, "BHD", 1_100),
        (1.001, "BHD", 1_001),
        (100.0, "JPY", 100),
        (0.0, "JPY", 0),
        (-0.0, "USD", 0),
        (1.0001, "CLF", 10_001),
        (9_999_999_999_999.99, "USD", MAX_MINOR),
        (999_999_999_999_999.0, "JPY", MAX_MINOR),
        (999_999_999_999.999, "BHD", MAX_MINOR),
    ],
)
def test_a_double_means_what_it_shows(value: float, currency: str, minor: int) -> None:
    assert from_double(value, currency) == Money(currency, minor)


@pytest.mark.parametrize(
    ("value", "currency", "why"),
    [
        (math.nan, "USD", "must be a finite number"),
        (math.inf, "USD", "must be a finite number"),
        (-math.inf, "USD", "must be a finite number"),
        (-0.01, "USD", "must not be negative"),
        (-5e-324, "USD", "must not be negative"),
        (0.1 + 0.2, "USD", "has more than the 2 decimals of USD"),
        (19.999, "USD", "has more than the 2 decimals of USD"),
        (5e-324, "USD", "has more than the 2 decimals of USD"),
        (0.5, "JPY", "has more than the 0 decimals of JPY"),
        (1.0001, "BHD", "has more than the 3 decimals of BHD"),
        (10_000_000_000_000.0, "USD", "is above the greatest amount, 9999999999999.99 USD"),
        (1_000_000_000_000_000.0, "JPY", "is above the greatest amount, 999999999999999 JPY"),
        (1.7976931348623157e308, "USD", "is above the greatest amount, 9999999999999.99 USD"),
        (1.0, "XYZ", "is not an ISO 4217 currency that money is counted in"),
        (1.0, "", "is not an ISO 4217 currency that money is counted in"),
        (1.0, "usd", "is not an ISO 4217 currency that money is counted in"),
    ],
)
def test_a_double_that_is_no_amount_is_refused_and_the_text_says_why(value: float, currency: str, why: str) -> None:
    with pytest.raises(BadAmount) as refused:
        from_double(value, currency)

    assert str(refused.value) == why


@pytest.mark.parametrize(
    ("units", "nanos", "currency", "minor"),
    [
        (19, 990_000_000, "USD", 1999),
        (0, 0, "USD", 0),
        (100, 0, "JPY", 100),
        (1, 1_000_000, "BHD", 1_001),
        (9_999_999_999_999, 990_000_000, "USD", MAX_MINOR),
    ],
)
def test_a_google_money_means_units_and_nanos(units: int, nanos: int, currency: str, minor: int) -> None:
    assert from_units_and_nanos(units, nanos, currency) == Money(currency, minor)


@pytest.mark.parametrize(
    ("units", "nanos", "currency", "why"),
    [
        (-1, 0, "USD", "must not be negative"),
        (0, -10_000_000, "USD", "must not be negative"),
        (-1, -10_000_000, "USD", "must not be negative"),
        (1, -10_000_000, "USD", "have the sign of units"),
        (-1, 10_000_000, "USD", "have the sign of units"),
        (0, 1_000_000_000, "USD", "nanos must be between"),
        (0, -1_000_000_000, "USD", "nanos must be between"),
        (0, 1, "USD", "has more than the 2 decimals"),
        (0, 500_000_000, "JPY", "has more than the 0 decimals"),
        (10_000_000_000_000, 0, "USD", "is above the greatest amount"),
        (2**63 - 1, 999_999_999, "USD", "is above the greatest amount"),
        (-(2**63), -999_999_999, "USD", "must not be negative"),
    ],
)
def test_a_google_money_that_is_no_amount_is_refused(units: int, nanos: int, currency: str, why: str) -> None:
    with pytest.raises(BadAmount, match=why):
        from_units_and_nanos(units, nanos, currency)


@pytest.mark.parametrize(
    ("money", "text"),
    [(Money("USD", 1990), "19.90 USD"), (Money("JPY", 100), "100 JPY"), (Money("BHD", 5), "0.005 BHD")],
)
def test_money_is_written_with_exactly_its_currencys_decimals(money: Money, text: str) -> None:
    assert str(money) == text


@pytest.mark.parametrize("currency", UNCOUNTED)
def test_what_is_no_currency_to_pay_in_has_no_minor_units(currency: str) -> None:
    with pytest.raises(BadAmount, match="is not an ISO 4217 currency that money is counted in"):
        minor_digits(currency)


def test_currencies_with_0_2_3_and_4_decimals_are_known() -> None:
    assert {minor_digits(currency) for currency in COUNTED} == {0, 2, 3, 4}
