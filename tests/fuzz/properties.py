"""Properties of messages as octets, written here so that they may also be wrong (AMQP 0-9-1, 4.2)."""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st
from pamqp.commands import Basic

_SHORT_STRINGS = ("content_type", "content_encoding")
_FLAG_OF = {
    "content_type": 15,
    "content_encoding": 14,
    "headers": 13,
    "delivery_mode": 12,
    "priority": 11,
    "correlation_id": 10,
    "reply_to": 9,
    "expiration": 8,
    "message_id": 7,
    "timestamp": 6,
    "message_type": 5,
    "app_id": 3,
}
"""In the order in which they follow each other. `user_id` is left out: the broker refuses one that is not ours."""


class RawProperties(Basic.Properties):
    """Properties as they are to be on the wire."""

    raw: bytes = b""

    def marshal(self) -> bytes:
        return self.raw


@dataclass(frozen=True, slots=True)
class Octets:
    """Properties in the making. Its repr is what a failing example shows."""

    flags: int
    data: bytes

    def marshalled(self) -> RawProperties:
        properties = RawProperties()
        properties.raw = struct.pack(">H", self.flags) + self.data
        return properties


NOTHING = Octets(0, b"")


def _short(value: bytes) -> bytes:
    return bytes([len(value)]) + value


def _long(value: bytes) -> bytes:
    return struct.pack(">I", len(value)) + value


def _packed(tag: str, form: str, low: int, high: int) -> st.SearchStrategy[bytes]:
    ends = st.sampled_from([low, high, 0])
    return (ends | st.integers(low, high)).map(lambda number: tag.encode() + struct.pack(form, number))


_OCTETS = st.binary(max_size=60)
_NAMES = st.one_of(
    st.sampled_from(
        [b"traceparent", b"baggage", b"tracestate", b"x-death", b"x-delivery-count", b"x-undecodable-properties", b""]
    ),
    st.binary(max_size=20),
    st.just(b"n" * 255),
)
_TRACES = st.sampled_from(
    [
        b"00-" + b"0" * 32 + b"-" + b"0" * 16 + b"-01",
        b"ff-" + b"f" * 32 + b"-" + b"f" * 16 + b"-ff",
        b"00--",
        b"\xff\xfe",
    ]
)
_LEAVES = st.one_of(
    st.booleans().map(lambda value: b"t" + bytes([value])),
    _packed("b", ">b", -128, 127),
    _packed("B", ">B", 0, 255),
    _packed("s", ">h", -(2**15), 2**15 - 1),
    _packed("u", ">H", 0, 2**16 - 1),
    _packed("I", ">i", -(2**31), 2**31 - 1),
    _packed("i", ">I", 0, 2**32 - 1),
    _packed("l", ">q", -(2**63), 2**63 - 1),
    _packed("T", ">Q", 0, 2**64 - 1),
    st.floats(width=32).map(lambda value: b"f" + struct.pack(">f", value)),
    st.floats().map(lambda value: b"d" + struct.pack(">d", value)),
    st.tuples(st.integers(0, 255), st.integers(-(2**31), 2**31 - 1)).map(lambda pair: b"D" + struct.pack(">Bi", *pair)),
    (_OCTETS | _TRACES).map(lambda value: b"S" + _long(value)),
    _OCTETS.map(lambda value: b"x" + _long(value)),
    st.just(b"V"),
    st.just(b"S" + _long(b"y" * 50_000)),
)


def _table(pairs: list[tuple[bytes, bytes]]) -> bytes:
    return _long(b"".join(_short(name) + value for name, value in pairs))


_VALUES: st.SearchStrategy[bytes] = st.recursive(
    _LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map(lambda values: b"A" + _long(b"".join(values))),
        st.lists(st.tuples(_NAMES, inner), max_size=4).map(lambda pairs: b"F" + _table(pairs)),
    ),
    max_leaves=6,
)


def _nested(depth: int) -> bytes:
    value = b"V"
    for _ in range(depth):
        value = b"F" + _table([(b"a", value)])
    return value


_DEEP = st.sampled_from([10, 100, 1_000]).map(_nested)
_HEADERS = st.lists(st.tuples(_NAMES, _VALUES | _DEEP), max_size=5).map(_table) | st.integers(100, 2_000).map(
    lambda count: _table([(b"h%d" % number, b"I\0\0\0\1") for number in range(count)])
)
_BROKEN = st.binary(max_size=40).map(_long)
"""A table that is none: the broker may refuse it, and what it lets through must not matter."""

_SHAPES: dict[str, st.SearchStrategy[bytes]] = {
    "headers": st.one_of(_HEADERS, _HEADERS, _HEADERS, _BROKEN),
    "delivery_mode": st.integers(0, 255).map(lambda value: bytes([value])),
    "priority": st.integers(0, 255).map(lambda value: bytes([value])),
    "expiration": st.sampled_from([b"60000", b"600000"]).map(_short),
    "timestamp": (st.sampled_from([0, 2**63 - 1, 2**64 - 1]) | st.integers(0, 2**64 - 1)).map(
        lambda at: struct.pack(">Q", at)
    ),
}
"""An expiration that is no number the broker refuses itself, and a short one would let it drop the message."""


@st.composite
def properties(draw: st.DrawFn) -> Octets:
    """Any properties, each there or not."""
    flags, data = 0, b""
    text: Callable[[Any], bytes] = _short
    for name, bit in _FLAG_OF.items():
        if draw(st.sampled_from([False, False, True])):
            flags |= 1 << bit
            data += draw(_SHAPES.get(name, st.binary(max_size=255).map(text)))
    return Octets(flags, data)
