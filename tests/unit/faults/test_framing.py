"""Where messages begin and end, however the network cuts the bytes."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.faults.wire.framing import Direction, FramingError, Protocol, framing_of


def packet(code: int, body: bytes = b"") -> bytes:
    """The first packets of PostgreSQL's clients have no type."""
    return (8 + len(body)).to_bytes(4) + code.to_bytes(4) + body


def typed(kind: bytes, body: bytes = b"") -> bytes:
    return kind + (4 + len(body)).to_bytes(4) + body


def amqp_frame(kind: int, payload: bytes, channel: int = 1) -> bytes:
    return bytes([kind]) + channel.to_bytes(2) + len(payload).to_bytes(4) + payload + b"\xce"


def http2_frame(kind: int, payload: bytes, stream: int = 1) -> bytes:
    return len(payload).to_bytes(3) + bytes([kind, 0]) + stream.to_bytes(4) + payload


SSL_REQUEST, STARTUP = packet(80877103), packet(196608, b"user\0ada\0\0")
AMQP_HEADER = b"AMQP\x00\x00\x09\x01"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
PUBLISH = (60).to_bytes(2) + (40).to_bytes(2) + b"rest"

SENT = {
    Protocol.POSTGRESQL: [
        ("SSLRequest", SSL_REQUEST),
        ("Startup", STARTUP),
        ("Parse", typed(b"P", b"\0select 1\0")),
        ("Bind", typed(b"B", b"x" * 60)),
        ("Execute", typed(b"E")),
        ("Sync", typed(b"S")),
        ("Query", typed(b"Q", b"commit\0")),
        ("Terminate", typed(b"X")),
    ],
    Protocol.AMQP: [
        ("ProtocolHeader", AMQP_HEADER),
        ("Basic.Publish", amqp_frame(1, PUBLISH)),
        ("Header", amqp_frame(2, b"properties")),
        ("Body", amqp_frame(3, b"\xce" * 20)),
        ("Body", amqp_frame(3, b"")),
        ("Heartbeat", amqp_frame(8, b"", channel=0)),
    ],
    Protocol.GRPC: [
        ("Preface", PREFACE),
        ("SETTINGS", http2_frame(4, b"")),
        ("HEADERS", http2_frame(1, b"h" * 30)),
        ("DATA", http2_frame(0, b"d" * 5)),
        ("WINDOW_UPDATE", http2_frame(8, b"1234")),
        ("Unknown 77", http2_frame(77, b"")),
    ],
}


@pytest.mark.parametrize("protocol", Protocol)
@settings(max_examples=40)
@given(data=st.data())
def test_however_the_bytes_are_cut_the_messages_are_the_same(protocol: Protocol, data: st.DataObject) -> None:
    messages = SENT[protocol]
    whole = b"".join(raw for _, raw in messages)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(whole)))) | {0, len(whole)})
    pieces = [whole[begin:end] for begin, end in itertools.pairwise(cuts)]
    framing = framing_of(protocol)

    found = [message for piece in pieces for message in framing.feed(Direction.TO_SERVER, piece)]

    assert found == messages


@pytest.mark.parametrize("protocol", Protocol)
def test_a_message_is_told_as_soon_as_its_last_byte_has_come(protocol: Protocol) -> None:
    framing = framing_of(protocol)

    for name, raw in SENT[protocol]:
        assert list(framing.feed(Direction.TO_SERVER, raw[:-1])) == []
        assert list(framing.feed(Direction.TO_SERVER, raw[-1:])) == [(name, raw)]


def test_the_answer_to_an_offer_to_encrypt_is_one_byte() -> None:
    framing = framing_of(Protocol.POSTGRESQL)
    answer, ready = typed(b"R", (0).to_bytes(4)), typed(b"Z", b"I")

    list(framing.feed(Direction.TO_SERVER, SSL_REQUEST))
    refused = list(framing.feed(Direction.TO_CLIENT, b"N"))
    list(framing.feed(Direction.TO_SERVER, STARTUP))
    answered = list(framing.feed(Direction.TO_CLIENT, answer + ready))

    assert refused == [("EncryptionRefused", b"N")]
    assert answered == [("Authentication", answer), ("ReadyForQuery", ready)]


def test_the_same_type_byte_means_another_thing_each_way() -> None:
    framing = framing_of(Protocol.POSTGRESQL)
    list(framing.feed(Direction.TO_SERVER, STARTUP))
    message = typed(b"S", b"")

    assert list(framing.feed(Direction.TO_SERVER, message)) == [("Sync", message)]
    assert list(framing.feed(Direction.TO_CLIENT, message)) == [("ParameterStatus", message)]


def test_an_encrypted_connection_is_refused_and_not_misread() -> None:
    framing = framing_of(Protocol.POSTGRESQL)
    list(framing.feed(Direction.TO_SERVER, SSL_REQUEST))

    with pytest.raises(FramingError):
        list(framing.feed(Direction.TO_CLIENT, b"S"))


@pytest.mark.parametrize(
    ("protocol", "sent"),
    [
        (Protocol.POSTGRESQL, STARTUP + typed(b"!")),
        (Protocol.POSTGRESQL, STARTUP + b"Q\x00\x00\x00\x03"),
        (Protocol.AMQP, amqp_frame(1, PUBLISH)[:-1] + b"\x00"),
        (Protocol.GRPC, b"GET / HTTP/1.1\r\nHost: somebody\r\n\r\n"),
    ],
)
def test_what_is_no_message_is_an_error(protocol: Protocol, sent: bytes) -> None:
    with pytest.raises(FramingError):
        list(framing_of(protocol).feed(Direction.TO_SERVER, sent))
