"""What is sent where, and what must hold for each example."""

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass
from typing import Any

import grpc
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from hypothesis import strategies as st

from order_service.broker.topology import REPLY_QUEUES
from order_service.pb import order_pb2
from tests.fuzz import http2, requests
from tests.fuzz.bodies import bodies, is_surely_unreadable
from tests.fuzz.properties import NOTHING, Octets, properties
from tests.fuzz.under_test import LEAKS, VICTIM_USER, Answer, UnderTest, wait_until

Code = grpc.StatusCode
Check = Callable[[Any], None]

OURS: Any = order_pb2.DESCRIPTOR.services_by_name["OrderService"]
HEALTH: Any = health_pb2.DESCRIPTOR.services_by_name["Health"]
REFLECTION: Any = reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"]

BAD_INPUT = {Code.OK, Code.INVALID_ARGUMENT, Code.NOT_FOUND, Code.FAILED_PRECONDITION, Code.ABORTED}
"""The contract's codes for what a caller may do wrong."""

OF_GRPC = BAD_INPUT | {Code.UNIMPLEMENTED}
"""And of gRPC's own services, of which not every method is offered."""

OVERSIZE = {Code.RESOURCE_EXHAUSTED}
_SECONDS = 30.0
_STREAM_SECONDS = 0.3
_REVIVAL_SECONDS = 20.0
_LARGEST = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Target:
    """Examples of one kind, and the check of one of them."""

    name: str
    examples: st.SearchStrategy[Any]
    check: Check


def targets(under_test: UnderTest) -> list[Target]:
    """All of them."""
    paths = [path(method) for service in (OURS, HEALTH, REFLECTION) for method in service.methods]
    own_paths = [path(method) for method in OURS.methods]
    on_paths = st.sampled_from(paths)
    port = http2.Port(under_test.api.ports["grpc"])
    return [
        *_structured(under_test),
        Target("raw bytes to an RPC", st.tuples(on_paths, requests.RAW), lambda one: _call(under_test, *one)),
        Target("oversize messages", st.tuples(on_paths, _SIZES), lambda one: oversize(under_test, *one)),
        Target("unknown methods", _UNKNOWN_METHODS, lambda name: unknown_method(under_test, name)),
        Target("metadata", st.tuples(st.sampled_from(own_paths), _METADATA), lambda one: metadata(under_test, *one)),
        Target("cancelled calls", st.tuples(on_paths, _DELAYS), lambda one: cancelled(under_test, *one)),
        Target(
            "broken HTTP/2",
            http2.connections([name.encode() for name in paths]),
            lambda sent: connection(under_test, port, sent),
        ),
        *_consumed(under_test),
    ]


def path(method: Any) -> str:
    """The path of a method in HTTP/2."""
    return f"/{method.containing_service.full_name}/{method.name}"


def _structured(under_test: UnderTest) -> Iterator[Target]:
    known = {
        "order_id": under_test.victims,
        "user_id": [VICTIM_USER, "ada"],
        "request_id": ["again", "and again"],
        "etag": ["1", "2"],
        "currency_code": ["USD", "JPY", "KWD", "XXX"],
        "service": ["", OURS.full_name],
        "file_containing_symbol": [OURS.full_name, "order.Order"],
        "list_services": ["*"],
    }
    for service in (OURS, HEALTH, REFLECTION):
        for method in service.methods:
            examples = st.tuples(requests.messages(method.input_type, known), requests.TAILS)
            yield Target(path(method), examples, _call_of(under_test, method))


def _call_of(under_test: UnderTest, method: Any) -> Check:
    def check(example: tuple[Any, bytes]) -> None:
        message, tail = example
        raw = message.SerializeToString() + tail
        _call(under_test, path(method), raw)

    return check


def _call(under_test: UnderTest, name: str, raw: bytes, also: Set[Code] = frozenset(), **options: Any) -> None:
    """One call with these very bytes. A stream is read for a moment: it may have no end."""
    under_test.requests += 1
    streams = _is_stream(name)
    seconds = _STREAM_SECONDS if streams else _SECONDS
    began = time.monotonic()
    answer = Answer.of(lambda: _read(under_test, name, raw, seconds, streams, **options))
    ended_by_us = streams and answer.code is Code.DEADLINE_EXCEEDED and time.monotonic() - began >= seconds * 0.9
    if not ended_by_us:
        of_ours = not name.startswith("/grpc.")
        allowed = (BAD_INPUT if of_ours else OF_GRPC) | also | (OVERSIZE if len(raw) > _LARGEST else set())
        answer.assert_told_right(allowed, of_ours and answer.code not in OVERSIZE)
    under_test.assert_unharmed()


def _read(under_test: UnderTest, name: str, raw: bytes, seconds: float, streams: bool, **options: Any) -> None:
    channel: Any = under_test.channel
    if not streams:
        channel.unary_unary(name)(raw, timeout=seconds, **options)
    elif name == path(REFLECTION.methods[0]):
        list(channel.stream_stream(name)(iter([raw]), timeout=seconds, **options))
    else:
        list(channel.unary_stream(name)(raw, timeout=seconds, **options))


def _is_stream(name: str) -> bool:
    return any(
        path(method) == name and method.server_streaming
        for service in (OURS, HEALTH, REFLECTION)
        for method in service.methods
    )


_SIZES = st.sampled_from([_LARGEST - 10, _LARGEST, _LARGEST + 1, 2 * _LARGEST])


def oversize(under_test: UnderTest, name: str, size: int) -> None:
    """More than the server reads: a string field that goes on and on."""
    _call(under_test, name, b"\x0a" + _varint(size) + b"x" * size)


def _varint(number: int) -> bytes:
    made = b""
    while number >= 128:
        made += bytes([number % 128 | 128])
        number //= 128
    return made + bytes([number])


_UNKNOWN_METHODS = st.one_of(
    st.sampled_from(
        ["/order.OrderService/createorder", "/order.OrderService/", "/x", "/a/b/c/d", "/grpc.health.v1.Health/X"]
    ),
    st.text("abcXYZ019._-/%", max_size=300).map(lambda text: f"/{text}"),
)


def unknown_method(under_test: UnderTest, name: str) -> None:
    """UNIMPLEMENTED, whatever it is called."""
    under_test.requests += 1
    channel: Any = under_test.channel
    answer = Answer.of(lambda: channel.unary_unary(name)(b"", timeout=_SECONDS))
    answer.assert_told_right({Code.UNIMPLEMENTED}, of_ours=False)
    under_test.assert_unharmed()


_KEYS = st.sampled_from(
    ["traceparent", "tracestate", "baggage", "x-request-id", "authorization", "grpc-trace-bin", "b3"]
) | st.text("abcxyz019-_.", min_size=1, max_size=20).map(lambda text: f"x{text}")
_METADATA_VALUES = st.one_of(
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60),
    st.sampled_from(["00-" + "0" * 32 + "-" + "0" * 16 + "-01", "00-zz", "v" * 5_000, "a=b," * 500, "%00%ff"]),
)
_METADATA = st.lists(st.tuples(_KEYS, _METADATA_VALUES), max_size=8)


def metadata(under_test: UnderTest, name: str, pairs: list[tuple[str, str]]) -> None:
    """Of what metadata says, nothing matters but the trace. Too much of it gRPC refuses itself."""
    sent = [(key, value.encode() if key.endswith("-bin") else value) for key, value in pairs]
    size = sum(len(key) + len(value) + 32 for key, value in pairs)
    _call(under_test, name, b"", OVERSIZE if size > 7_000 else frozenset(), metadata=sent)


_DELAYS = st.sampled_from([0.0, 0.0005, 0.001, 0.002, 0.005])


def cancelled(under_test: UnderTest, name: str, seconds: float) -> None:
    """A caller who goes away in the middle."""
    under_test.requests += 1
    raw = b"\x0a\x06victim\x12\x0e\x0a\x03tea\x10\x01\x19" + b"\0" * 8 if name.endswith("/CreateOrder") else b""
    channel: Any = under_test.channel
    if _is_stream(name):
        call = channel.unary_stream(name)(raw, timeout=_SECONDS)
    else:
        call = channel.unary_unary(name).future(raw, timeout=_SECONDS)
    time.sleep(seconds)
    call.cancel()
    under_test.assert_unharmed()


def connection(under_test: UnderTest, port: http2.Port, sent: bytes) -> None:
    """Whatever comes back, it tells nothing of the inside, and soon after the server takes connections again."""
    under_test.requests += 1
    received = port.exchange(sent).decode(errors="replace")
    leak = LEAKS.search(received)
    assert not leak, f"{leak[0]!r} leaks: {received[:1_000]!r}"
    wait_until(port.takes_connections, _REVIVAL_SECONDS, "nobody listens on the port again")
    under_test.assert_unharmed()


Message = tuple[bytes, Octets, bool]
"""A body, its properties, and whether it goes straight to the queue."""


def _consumed(under_test: UnderTest) -> Iterator[Target]:
    for step, queue in REPLY_QUEUES.items():
        known = under_test.victims
        plain = st.tuples(bodies(known), st.just(NOTHING), st.booleans())
        dressed = st.tuples(bodies(known), properties(), st.booleans())

        def check(batch: list[Message], queue: Any = queue) -> None:
            consumed(under_test, queue.name, queue.exchange, queue.source, batch)

        yield Target(f"{step.value} replies: bodies", st.lists(plain, min_size=1, max_size=12), check)
        yield Target(f"{step.value} replies: properties", st.lists(dressed, min_size=1, max_size=8), check)


def consumed(under_test: UnderTest, queue: str, exchange: str, source: str, batch: list[Message]) -> None:
    """Each message that nobody can read is parked, once; none is parked that was not sent."""
    ((before,),) = under_test.rows("select coalesce(max(parked_id), 0) from order_service.parked_messages")
    taken: Counter[bytes] = Counter()
    for body, octets, straight in batch:
        under_test.requests += 1
        to, key = ("", queue) if straight else (exchange, "")
        if under_test.wire.publish(body, octets, to, key):
            taken[body] += 1
    parked = _parked_up_to_a_sentinel(under_test, queue, source, before)
    sent = {hashlib.sha256(body).hexdigest(): (body, count) for body, count in taken.items()}
    for digest, count in parked.items():
        body, times = sent.get(digest, (b"", 0))
        assert count <= times, f"parked {count} times and sent {times} times: {digest} {body[:200]!r}"
    for digest, (body, times) in sent.items():
        if is_surely_unreadable(body):
            assert parked[digest] == times, f"sent {times} times, parked {parked[digest]} times: {body[:200]!r}"
    under_test.assert_unharmed()


def _parked_up_to_a_sentinel(under_test: UnderTest, queue: str, source: str, above: int) -> Counter[str]:
    """What was parked as unreadable since, by digest: waits for a message that was sent last."""
    under_test.sentinels += 1
    sentinel = b"sentinel %d" % under_test.sentinels
    assert under_test.wire.publish(sentinel, NOTHING, "", queue), "the broker does not take a plain message"
    last = hashlib.sha256(sentinel).hexdigest()
    query = """
        select encode(sha256(body), 'hex'), reason_code from order_service.parked_messages
        where parked_id > %s and source = %s and reason_code <> 'UNKNOWN_ORDER'
    """

    def has_come() -> bool:
        return (last, "UNREADABLE") in under_test.rows(query, above, source)

    wait_until(has_come, 30, "what was sent to the queue is not handled")
    found = under_test.rows(query, above, source)
    refused = [digest for digest, code in found if code != "UNREADABLE"]
    assert not refused, f"the database refused what the service read: {refused}"
    return Counter(digest for digest, _ in found if digest != last)
