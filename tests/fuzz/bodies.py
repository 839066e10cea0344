"""Bodies of replies: around what StockUpdateResult and PaymentResult look like, and far from it."""

import json
import uuid
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

_STRANGE = st.sampled_from(
    [
        *(
            "1e400",
            "-0",
            "9" * 5_000,
            "1" + "0" * 400,
            "0.1e-99999",
            "NaN",
            "Infinity",
            "null",
            "tru",
            '"\\ud800"',
            '"\\u0000"',
        ),
        *('"' + "x" * 600 + '"', '"\\', "[" * 20_000, "{" * 500, '{"a":' * 5_000, "[[[]]]", "", "//", "'x'", "1 1"),
    ]
)
_PLAIN: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
_VALUES = st.one_of(_STRANGE, _PLAIN.map(json.dumps))


def _orders(known: Sequence[str]) -> st.SearchStrategy[str]:
    """Order ids as JSON: real ones in several forms, ids of nobody's order, and what is none."""
    real = st.sampled_from(known)
    return st.one_of(
        real.map(json.dumps),
        real.map(lambda order_id: json.dumps(order_id.upper())),
        real.map(lambda order_id: json.dumps("{" + order_id + "}")),
        real.map(lambda order_id: json.dumps([order_id])),
        st.uuids().map(lambda order_id: json.dumps(str(order_id))),
        _VALUES,
    )


@st.composite
def _objects(draw: st.DrawFn, known: Sequence[str]) -> bytes:
    """A JSON object, perhaps: fields of any value, also twice, also none."""
    values = {"order_id": _orders(known), "success": st.sampled_from(["true", "false"]) | _VALUES, "reason": _VALUES}
    names = draw(st.lists(st.sampled_from([*values, "order_id", "success", "x", "\0", ""]), max_size=6))
    pairs = [f"{json.dumps(name)}:{draw(values.get(name, _VALUES))}" for name in names]
    return ("{" + ",".join(pairs) + "}").encode(errors="surrogatepass")


def bodies(known: Sequence[str]) -> st.SearchStrategy[bytes]:
    """Anything that may come."""
    objects = _objects(known)
    return st.one_of(
        objects,
        objects,
        st.tuples(objects, st.binary(max_size=4)).map(b"".join),
        objects.map(lambda body: body[: len(body) // 2]),
        objects.map(lambda body: b"\xef\xbb\xbf" + body),
        objects.map(lambda body: body.decode(errors="replace").encode("utf-16")),
        objects.map(lambda body: b" " * 70_000 + body),
        st.binary(max_size=300),
        st.sampled_from([b"", b"\0", b"null", b"[]", b"7", b"\xff" * 70_000, b"\0" * 2_000_000, b"[" * 60_000]),
    )


def is_surely_unreadable(body: bytes) -> bool:
    """Whether no reading of JSON could take it for a reply: judged by another reader than the service's."""
    try:
        found = json.loads(body.decode())
        return not isinstance(found, dict) or not _is_uuid(found.get("order_id"))
    except (ValueError, RecursionError):
        return True


def _is_uuid(value: Any) -> bool:
    try:
        return bool(isinstance(value, str) and uuid.UUID(value))
    except ValueError:
        return False
