"""What is written by hand is what pamqp would write, whatever an event holds."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pamqp.frame import FrameTypes, unmarshal
from pamqp.header import ContentHeader

from order_service.broker.frames import SOURCE, Outgoing, frames

LARGEST = 100
YEARS = datetime(2000, 1, 1), datetime(2100, 1, 1)
MESSAGES = st.builds(
    Outgoing,
    event_id=st.uuids(),
    type=st.text(max_size=63),
    order_id=st.uuids(),
    occurred_at=st.datetimes(*YEARS, timezones=st.just(UTC)),
    traceparent=st.text(max_size=55),
    body=st.binary(max_size=3 * LARGEST),
)


def expected(message: Outgoing) -> Basic.Properties:
    headers: dict[str, Any] = {
        "ce-specversion": "1.0",
        "ce-id": str(message.event_id),
        "ce-source": SOURCE,
        "ce-type": message.type,
        "ce-subject": str(message.order_id),
        "ce-time": message.occurred_at.isoformat().replace("+00:00", "Z"),
    }
    return Basic.Properties(
        content_type="application/json",
        headers=headers | ({"traceparent": message.traceparent} if message.traceparent else {}),
        delivery_mode=2,
        message_id=str(message.event_id),
        timestamp=message.occurred_at.replace(microsecond=0),
        message_type=message.type,
        app_id="order-service",
    )


def read(sent: bytes, channel: int) -> list[FrameTypes]:
    found = []
    while sent:
        size, of_channel, frame = unmarshal(sent)
        assert of_channel == channel
        found.append(frame)
        sent = sent[size:]
    return found


@given(MESSAGES, st.integers(1, 65_535))
def test_the_frames_are_those_that_pamqp_reads_and_writes(message: Outgoing, channel: int) -> None:
    sent = frames(message, channel, "order.events", message.type, LARGEST)

    method, header, *bodies = read(sent, channel)

    assert isinstance(method, Basic.Publish)
    assert (method.exchange, method.routing_key, method.mandatory) == ("order.events", message.type, True)
    assert isinstance(header, ContentHeader)
    assert header.body_size == len(message.body)
    assert dict(header.properties) == dict(expected(message)) | {"cluster_id": header.properties.cluster_id}
    assert b"".join(body.value for body in bodies if isinstance(body, ContentBody)) == message.body


@pytest.mark.parametrize(("length", "bodies"), [(0, 0), (1, 1), (LARGEST, 1), (LARGEST + 1, 2)])
def test_a_body_is_cut_into_frames_that_the_broker_takes(length: int, bodies: int) -> None:
    event_id = UUID("0198f2c0-7b3a-7c11-9d5e-2f1a3b4c5d6e")
    message = Outgoing(event_id, "order.created", event_id, datetime(2026, 1, 2, tzinfo=UTC), "", b"x" * length)

    _, _, *cut = read(frames(message, 1, "order.events", "order.created", LARGEST), 1)

    assert len(cut) == bodies
    assert all(isinstance(one, ContentBody) and len(one.value) <= LARGEST for one in cut)
