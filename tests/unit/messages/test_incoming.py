"""What peers send, as they send it: everything readable is understood, everything else is refused with a reason."""

import json
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from order_service.messages.incoming import MAX_BODY, MAX_REASON, STEP_OF, UnreadableMessage, decode_reply
from order_service.saga.engine import ReplyReceived
from order_service.saga.order_saga import StepName

ORDER_ID = UUID("0198f2c0-7b3a-7c11-9d5e-2f1a3b4c5d6f")


def body(**fields: Any) -> bytes:
    return json.dumps({"order_id": str(ORDER_ID), **fields}).encode()


@pytest.mark.parametrize("step", StepName)
def test_a_success_is_understood(step: StepName) -> None:
    assert decode_reply(step, body(success=True)) == (ORDER_ID, ReplyReceived(step, True))


def test_a_failure_keeps_the_peers_reason() -> None:
    received = decode_reply(StepName.STOCK, body(success=False, reason="none left"))

    assert received == (ORDER_ID, ReplyReceived(StepName.STOCK, False, "none left"))


def test_a_missing_success_is_a_failure_without_a_reason() -> None:
    assert decode_reply(StepName.STOCK, body()) == (ORDER_ID, ReplyReceived(StepName.STOCK, False, ""))


def test_an_empty_or_null_reason_is_no_reason() -> None:
    readings = [decode_reply(StepName.STOCK, body(reason=reason))[1].reason for reason in ("", None)]

    assert readings == ["", ""]


@pytest.mark.parametrize("extra", [{"warehouse": "north"}, {"items": [{"a": [1, 2.5, None]}]}, {"Success": True}])
def test_unknown_fields_are_ignored(extra: dict[str, Any]) -> None:
    assert decode_reply(StepName.STOCK, body(success=False, **extra))[1] == ReplyReceived(StepName.STOCK, False)


def test_order_ids_are_read_in_any_usual_form() -> None:
    forms = [str(ORDER_ID), str(ORDER_ID).upper(), ORDER_ID.hex]

    read = [decode_reply(StepName.STOCK, json.dumps({"order_id": form}).encode())[0] for form in forms]

    assert read == [ORDER_ID] * 3


@pytest.mark.parametrize(
    ("unreadable", "why"),
    [
        (b"", "truncated"),
        (b"{", "truncated"),
        (b"hello", "malformed"),
        (b"[]", "Expected `object`"),
        (b"null", "Expected `object`"),
        (b"{}", "missing required field `order_id`"),
        (b'{"order_id": null}', r"Expected `uuid`, got `null` - at `\$.order_id`"),
        (b'{"order_id": "42"}', r"Invalid UUID - at `\$.order_id`"),
        (b'{"order_id": 42}', r"Expected `uuid`, got `int`"),
        (body(success="true"), r"Expected `bool`, got `str` - at `\$.success`"),
        (body(success=1), "Expected `bool`, got `int`"),
        (body(success=None), "Expected `bool`, got `null`"),
        (body(reason=["none left"]), r"Expected `str \| null`, got `array` - at `\$.reason`"),
        (body(success=True) + b"{}", "trailing"),
        (b'{"order_id": "' + b"\xff" * 36 + b'"}', "."),
        (body(reason="x").replace(b'"x"', b'"\xc3\x28"'), "."),
        (b"\xef\xbb\xbf" + body(success=True), "malformed"),
        ("{}".encode("utf-16"), "malformed"),
        (body(x=[]).replace(b"[]", b"[" * 30_000 + b"]" * 30_000), "."),
        (b"[" * MAX_BODY, "."),
        (b'{"a":' * 10_000, "."),
    ],
    ids=lambda value: repr(value[:40]) if isinstance(value, bytes) else None,
)
def test_what_does_not_match_the_schema_is_refused_with_the_reason(unreadable: bytes, why: str) -> None:
    with pytest.raises(UnreadableMessage, match=why):
        decode_reply(StepName.STOCK, unreadable)


def test_a_body_of_the_greatest_size_is_read_and_one_byte_more_is_not() -> None:
    largest = body(success=True).ljust(MAX_BODY)

    assert decode_reply(StepName.STOCK, largest)[1].success
    with pytest.raises(UnreadableMessage, match=f"body of {MAX_BODY + 1} bytes is above the limit of {MAX_BODY}"):
        decode_reply(StepName.STOCK, largest + b" ")


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (r"none\u0000 left", "none left"),
        (r"\u0000", ""),
        ("line\\nbreak", "line\nbreak"),
        ("größer als 3 \U0001f375", "größer als 3 \U0001f375"),
        (r"\ud83c\udf75", "\U0001f375"),
        ("x" * (MAX_REASON + 1), "x" * MAX_REASON),
    ],
)
def test_a_reason_is_kept_as_far_as_postgresql_can_keep_it(sent: str, kept: str) -> None:
    raw = f'{{"order_id": "{ORDER_ID}", "success": false, "reason": "{sent}"}}'.encode()

    assert decode_reply(StepName.STOCK, raw)[1].reason == kept


@pytest.mark.parametrize("lone", [r"\ud800", r"\udfff", r"\ud800x", r"\udc00\ud800"])
def test_a_lone_surrogate_never_reaches_the_database(lone: str) -> None:
    raw = f'{{"order_id": "{ORDER_ID}", "reason": "{lone}"}}'.encode()

    try:
        reason = decode_reply(StepName.STOCK, raw)[1].reason
    except UnreadableMessage as error:
        reason = str(error)

    assert reason.encode().decode() == reason


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=4,
)
fields = st.dictionaries(st.sampled_from(["order_id", "success", "reason", "other"]), json_values)
with_order_id = fields.map(lambda made: {**made, "order_id": str(ORDER_ID)})
almost_replies = (fields | with_order_id).map(lambda made: json.dumps(made).encode())


@settings(deadline=None, max_examples=50)
@given(st.binary(max_size=200) | almost_replies)
def test_whatever_comes_is_read_or_refused_and_what_is_read_can_be_stored(raw: bytes) -> None:
    try:
        order_id, received = decode_reply(StepName.PAYMENT, raw)
    except UnreadableMessage:
        return

    assert order_id.bytes
    assert received.step is StepName.PAYMENT
    assert "\0" not in received.reason
    assert len(received.reason) <= MAX_REASON
    assert received.reason.encode().decode() == received.reason


def test_each_kind_of_reply_answers_one_step() -> None:
    assert STEP_OF == {"StockUpdateResult": StepName.STOCK, "PaymentResult": StepName.PAYMENT}
