"""AMQP headers of any kind become JSON that PostgreSQL can hold."""

import base64
import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from order_service.inbox.headers import json_headers
from order_service.messages.incoming import traceparent_in

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ({"traceparent": TRACEPARENT}, TRACEPARENT),
        ({"traceparent": TRACEPARENT.encode()}, TRACEPARENT),
        ({"traceparent": b"\xff\x00"}, ""),
        ({"traceparent": 7}, ""),
        ({"Traceparent": TRACEPARENT}, ""),
        ({}, ""),
    ],
)
def test_the_trace_context_is_read_as_text_or_bytes(headers: dict[str, Any], found: str) -> None:
    assert traceparent_in(headers) == found


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (None, None),
        (True, True),
        (7, 7),
        (-(2**63), -(2**63)),
        ("north", "north"),
        ("a\0b", "ab"),
        ("\ud800", "?"),
        (b"\xff\0", {"base64": base64.b64encode(b"\xff\0").decode()}),
        (bytearray(b"ab"), {"base64": "YWI="}),
        (float("nan"), "nan"),
        (float("inf"), "inf"),
        (1.5, "1.5"),
        (Decimal("19.90"), "19.90"),
        (datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "2026-01-02 03:04:05+00:00"),
        ({"inner": {"deeper": b""}}, {"inner": {"deeper": {"base64": ""}}}),
        ([1, ("a", None)], [1, ["a", None]]),
        ({1: "one"}, {"1": "one"}),
        ({1}, "{1}"),
    ],
)
def test_a_value_is_kept_as_json_can_hold_it(value: Any, kept: Any) -> None:
    assert json_headers({"x": value}) == {"x": kept}


def test_a_name_is_kept_without_what_postgresql_cannot_hold() -> None:
    assert json_headers({"a\0b\ud800": 1}) == {"ab?": 1}


def test_what_is_too_long_is_cut() -> None:
    kept = json_headers({"text": "x" * 10_000, "bytes": b"x" * 10_000, "n" * 10_000: 1})

    assert len(kept["text"]) == 4_096
    assert len(base64.b64decode(kept["bytes"]["base64"])) == 4_096
    assert max(len(name) for name in kept) == 4_096


def depth(value: Any) -> int:
    match value:
        case dict():
            return 1 + max(map(depth, value.values()), default=0)
        case list():
            return 1 + max(map(depth, value), default=0)
    return 0


@pytest.mark.parametrize("nest", [lambda inner: [inner], lambda inner: {"a": inner}], ids=["lists", "tables"])
def test_what_is_too_deep_becomes_text(nest: Any) -> None:
    deep: Any = "bottom"
    for _ in range(100):
        deep = nest(deep)

    kept = json_headers({"x": deep})

    assert depth(kept["x"]) == 8
    assert len(json.dumps(kept)) < 10_000


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(st.characters())
    | st.binary()
    | st.decimals()
    | st.datetimes(timezones=st.just(UTC)),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters()), inner),
    max_leaves=5,
)


@settings(deadline=None, max_examples=30)
@given(st.dictionaries(st.text(st.characters()), values, max_size=3))
def test_any_headers_become_json_without_nul_and_lone_surrogates(headers: dict[str, Any]) -> None:
    text = json.dumps(json_headers(headers), allow_nan=False, ensure_ascii=False)

    assert "\\u0000" not in text.replace("\\\\", "")
    assert text.encode().decode() == text
