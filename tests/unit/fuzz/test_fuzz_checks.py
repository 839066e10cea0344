"""What the fuzzing holds against the service: each check must be able to fail."""

import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyProto
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from google.rpc.status_pb2 import Status
from hypothesis import given

from order_service.pb import order_pb2
from tests.fuzz.bodies import bodies, is_surely_unreadable
from tests.fuzz.http2 import PREFACE, call, message
from tests.fuzz.properties import Octets, properties
from tests.fuzz.requests import messages
from tests.fuzz.session import Sample, growth
from tests.fuzz.under_test import Answer, LogReader

INVALID = grpc.StatusCode.INVALID_ARGUMENT
ORDER_ID = "0198c2f0-0000-7000-8000-000000000000"


def details(*kinds: Any) -> bytes:
    """A google.rpc.Status with these details."""
    status = Status(code=INVALID.value[0])
    for kind in kinds:
        packed = AnyProto()
        packed.Pack(kind)
        status.details.append(packed)
    return bytes(status.SerializeToString())


INFO = ErrorInfo(reason="INVALID_REQUEST", domain="order-service")
BAD = BadRequest(field_violations=[BadRequest.FieldViolation(field="user_id", description="must not be empty")])


def test_an_answer_of_the_contract_passes() -> None:
    Answer(INVALID, "user_id: must not be empty", details(INFO, BAD)).assert_told_right({INVALID}, of_ours=True)


@pytest.mark.parametrize(
    ("answer", "wrong"),
    [
        (Answer(grpc.StatusCode.UNKNOWN, "", b""), "answered UNKNOWN"),
        (Answer(INVALID, "Unexpected <class 'ValueError'>: x", details(INFO, BAD)), "leaks"),
        (Answer(INVALID, 'relation "orders" does not exist', details(INFO, BAD)), "leaks"),
        (Answer(INVALID, "no", b""), "without ErrorInfo"),
        (Answer(INVALID, "no", details(INFO)), "without BadRequest"),
    ],
)
def test_any_other_answer_is_a_finding(answer: Answer, wrong: str) -> None:
    with pytest.raises(AssertionError, match=wrong):
        answer.assert_told_right({INVALID}, of_ours=True)


@pytest.mark.parametrize(
    "line",
    [
        '{"level":"critical","event":"process.crashed"}',
        '{"level":"error","event":"rpc.failed"}',
        '{"level":"warning","event":"consumer.unavailable"}',
        "Traceback (most recent call last):",
    ],
)
def test_a_log_line_of_something_unforeseen_is_a_finding_once(line: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text('{"level":"info","event":"process.started"}\n')
    running: Any = SimpleNamespace(log=log)
    reader = LogReader(running)
    reader.assert_nothing_wrong()
    with log.open("a") as more:
        more.write(f'{line}\n{{"level":"info","event":"half')

    with pytest.raises(AssertionError):
        reader.assert_nothing_wrong()
    reader.assert_nothing_wrong()


@pytest.mark.parametrize(
    ("body", "unreadable"),
    [
        (b'{"order_id": "%s", "success": true}' % ORDER_ID.encode(), False),
        (b'{"order_id": "%s", "success": 7}' % ORDER_ID.encode(), False),
        (b'{"success": true}', True),
        (b'{"order_id": "7"}', True),
        (b"[]", True),
        (b"\xff", True),
        (b"[" * 100_000, True),
    ],
)
def test_what_nobody_can_read_is_told_from_what_may_be_read(body: bytes, unreadable: bool) -> None:
    assert is_surely_unreadable(body) is unreadable


@given(bodies([ORDER_ID]))
def test_bodies_are_bytes(body: bytes) -> None:
    assert isinstance(body, bytes)


@given(properties())
def test_properties_are_marshalled_as_they_are(octets: Octets) -> None:
    assert octets.marshalled().marshal() == struct.pack(">H", octets.flags) + octets.data


@given(messages(order_pb2.CreateOrderRequest.DESCRIPTOR, {"user_id": ["ada"]}))
def test_requests_are_messages_of_their_type(request: order_pb2.CreateOrderRequest) -> None:
    assert order_pb2.CreateOrderRequest.FromString(request.SerializeToString()) is not None


def test_growth_is_the_slope_of_the_samples() -> None:
    samples = [Sample(requests, {"api": 1_000 + requests // 10}) for requests in range(0, 5_000, 500)]

    assert growth(samples, "api") == 100
    assert growth(samples[:1], "api") == 0


def test_a_call_is_made_of_whole_frames() -> None:
    whole = call([(b":path", b"/" + b"x" * 300)], message(b"abc"))

    kinds, rest = [], whole.removeprefix(PREFACE)
    while rest:
        length = int.from_bytes(rest[:3], "big")
        kinds.append(rest[3])
        rest = rest[9 + length :]
    assert kinds == [4, 1, 0]
    assert b"/" + b"x" * 300 in whole
