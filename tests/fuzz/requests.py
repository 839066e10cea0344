"""Requests made of a message's descriptor: right in form, and with as little sense as hypothesis can find."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import strategies as st

Known = Mapping[str, Sequence[str]]
"""Values that mean something to the service, by the name of the field: orders and users that exist."""

_DEEPEST = 6
_FIELD = FieldDescriptor
_BITS = {
    _FIELD.TYPE_INT32: (-(2**31), 2**31 - 1),
    _FIELD.TYPE_SINT32: (-(2**31), 2**31 - 1),
    _FIELD.TYPE_SFIXED32: (-(2**31), 2**31 - 1),
    _FIELD.TYPE_UINT32: (0, 2**32 - 1),
    _FIELD.TYPE_FIXED32: (0, 2**32 - 1),
    _FIELD.TYPE_INT64: (-(2**63), 2**63 - 1),
    _FIELD.TYPE_SINT64: (-(2**63), 2**63 - 1),
    _FIELD.TYPE_SFIXED64: (-(2**63), 2**63 - 1),
    _FIELD.TYPE_UINT64: (0, 2**64 - 1),
    _FIELD.TYPE_FIXED64: (0, 2**64 - 1),
    # Open: any number may come over the wire.
    _FIELD.TYPE_ENUM: (-(2**31), 2**31 - 1),
}
_NUMBERS = (
    0.0,
    -0.0,
    0.01,
    19.99,
    19.999,
    0.1 + 0.2,
    -1.0,
    5e-324,
    1e15,
    9_999_999_999_999.99,
    1e308,
    math.nan,
    math.inf,
)

TEXTS = st.one_of(
    st.sampled_from(["", "-", "USD", "ada", "\0", "\x7f", "\u2028", "%s %(x)s {}", "'; drop table orders; --"]),
    st.text(max_size=30),
    st.text(max_size=30).map(lambda text: text * 100),
    st.sampled_from([255, 256, 501, 10_000, 200_000]).map(lambda length: "x" * length),
)
_LONG = 2_000
"""Of what is longer there is one copy: more would only be more of the same, by the hundred megabytes."""
_REPEATS = st.sampled_from([1, 1, 1, 1, 1, 1, 10, 1_000, 1_001])


def field_values(field: FieldDescriptor, known: Known, depth: int) -> st.SearchStrategy[Any]:
    """Values of one field, one at a time."""
    match field.type:
        case _FIELD.TYPE_MESSAGE | _FIELD.TYPE_GROUP:
            return messages(cast(Descriptor, field.message_type), known, depth - 1)
        case _FIELD.TYPE_STRING:
            meant = known.get(field.name, ())
            return st.one_of(st.sampled_from(meant), TEXTS) if meant else TEXTS
        case _FIELD.TYPE_BYTES:
            return st.binary(max_size=100)
        case _FIELD.TYPE_BOOL:
            return st.booleans()
        case _FIELD.TYPE_DOUBLE | _FIELD.TYPE_FLOAT:
            return st.sampled_from(_NUMBERS) | st.floats(width=32 if field.type == _FIELD.TYPE_FLOAT else 64)
        case number:
            low, high = _BITS[number]
            return st.sampled_from([low, high, 0, 1, 2, 99]) | st.integers(low, high)


@st.composite
def messages(draw: st.DrawFn, descriptor: Descriptor, known: Known, depth: int = _DEEPEST) -> Message:
    """A message of a type, each field of it there or not."""
    made: Message = GetMessageClass(descriptor)()
    for field in descriptor.fields:
        is_message = field.message_type is not None
        if (is_message and not depth) or draw(st.sampled_from([False, True, True])) is False:
            continue
        if field.is_repeated:
            values = draw(st.lists(field_values(field, known, depth), max_size=4))
            copies = draw(_REPEATS) if len(str(values)) < _LONG else 1
            getattr(made, field.name).extend(values * copies)
        elif is_message:
            getattr(made, field.name).CopyFrom(draw(field_values(field, known, depth)))
        else:
            setattr(made, field.name, draw(field_values(field, known, depth)))
    return made


_STRING_OF_NO_UTF8 = st.integers(1, 15).map(lambda number: bytes([number << 3 | 2, 3]) + b"\xed\xa0\x80")
"""A string field that holds a lone surrogate."""

_UNKNOWN_FIELDS = st.sampled_from(
    [b"\xa0\x06\x01", b"\xa2\x06\x03abc", b"\xf8\xff\xff\xff\x0f\x01", b"\xa3\x06\xa4\x06"]
)
_MALFORMED = st.one_of(
    st.binary(max_size=200),
    st.sampled_from(
        [b"\xff" * 20, b"\x0a\xff\xff\xff\xff\x0f", b"\x0b" * 10_000, b"\x0a\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01"]
    ),
    _STRING_OF_NO_UTF8,
)
TAILS = st.one_of(st.just(b""), st.just(b""), st.just(b""), _UNKNOWN_FIELDS, _STRING_OF_NO_UTF8)
"""What may follow a message's bytes."""

RAW = st.one_of(
    _MALFORMED, st.lists(_MALFORMED, max_size=5).map(b"".join), st.binary(max_size=20).map(lambda some: some * 5_000)
)
"""Bytes that are most likely no message of any method."""
