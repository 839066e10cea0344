"""HTTP/2 written by hand (RFC 9113, RFC 7541), so that it may be wrong: what no gRPC client would ever send."""

import socket
import struct
from contextlib import suppress
from dataclasses import dataclass

from hypothesis import strategies as st

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_ANSWER_SECONDS = 0.05
_LONGEST_ANSWER = 1_000_000


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """A frame as it is on the wire."""
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def _literal(text: bytes) -> bytes:
    """A string as HPACK has it, without Huffman code."""
    if len(text) < 127:
        return bytes([len(text)]) + text
    rest, more = len(text) - 127, b""
    while rest >= 128:
        more += bytes([rest % 128 | 128])
        rest //= 128
    return b"\x7f" + more + bytes([rest]) + text


def _headers(pairs: list[tuple[bytes, bytes]]) -> bytes:
    return b"".join(b"\x00" + _literal(name) + _literal(value) for name, value in pairs)


def call(pairs: list[tuple[bytes, bytes]], body: bytes) -> bytes:
    """A whole call: the preface, the headers and one message."""
    return PREFACE + frame(4, 0, 0, b"") + frame(1, 4, 1, _headers(pairs)) + frame(0, 1, 1, body)


def message(content: bytes, compressed: int = 0) -> bytes:
    """A message with its gRPC prefix."""
    return struct.pack(">BI", compressed, len(content)) + content


_VALUES = st.one_of(
    st.binary(max_size=30),
    st.sampled_from(
        [b"application/grpc", b"application/json", b"gzip", b"identity", b"1S", b"0n", b"99999999999H", b"-1S", b"\xff"]
    ),
    st.just(b"00-" + b"z" * 32 + b"-" + b"0" * 16 + b"-01"),
    st.just(b"v" * 20_000),
)
_NAMES = st.sampled_from(
    [
        b"grpc-timeout",
        b"grpc-encoding",
        b"grpc-accept-encoding",
        b"traceparent",
        b"tracestate",
        b"baggage",
        b"te",
        b"x-bin",
        b":path",
    ]
) | st.binary(min_size=1, max_size=12)


@st.composite
def calls(draw: st.DrawFn, paths: list[bytes]) -> bytes:
    """Calls that are nearly right."""
    path = draw(
        st.sampled_from(paths)
        | st.sampled_from([b"", b"/", b"//", b"x", b"/a/b/c", b"\xff\xfe", b"/order.OrderService"])
    )
    usual = [
        (b":method", draw(st.sampled_from([b"POST", b"POST", b"GET", b""]))),
        (b":scheme", b"http"),
        (b":path", path),
        (b":authority", draw(st.sampled_from([b"localhost", b"", b"\0"]))),
        (
            b"content-type",
            draw(st.sampled_from([b"application/grpc", b"application/grpc", b"text/html", b"application/grpc+json"])),
        ),
        (b"te", b"trailers"),
    ]
    more = draw(st.lists(st.tuples(_NAMES, _VALUES), max_size=4))
    content = draw(st.binary(max_size=40))
    prefix = st.sampled_from(
        [message(content), message(content, 1), struct.pack(">BI", 0, 2**32 - 1), struct.pack(">BI", 0, 100_000_000)]
    )
    return call([*usual, *more], draw(prefix) + draw(st.sampled_from([b"", content])))


_FRAMES = st.builds(
    frame,
    st.integers(0, 255) | st.integers(0, 9),
    st.integers(0, 255),
    st.sampled_from([0, 1, 2, 3, 2**31 - 1, 2**32 - 1]),
    st.binary(max_size=60),
)


def connections(paths: list[bytes]) -> st.SearchStrategy[bytes]:
    """What a client sends on a connection of its own."""
    return st.one_of(
        st.binary(max_size=500),
        st.just(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
        st.lists(_FRAMES, max_size=8).map(lambda frames: PREFACE + b"".join(frames)),
        calls(paths),
        calls(paths),
        st.tuples(calls(paths), st.lists(_FRAMES, max_size=4)).map(lambda pair: pair[0] + b"".join(pair[1])),
        calls(paths).map(lambda whole: whole[: len(whole) * 2 // 3]),
    )


@dataclass(frozen=True, slots=True)
class Port:
    """Where the server listens on this machine."""

    number: int

    def takes_connections(self) -> bool:
        """Whether anybody listens."""
        try:
            socket.create_connection(("127.0.0.1", self.number), timeout=5).close()
        except OSError:
            return False
        return True

    def exchange(self, sent: bytes) -> bytes:
        """Everything that comes back within a moment. An answer that ends in a reset is one too, and so is none from a
        server that is just being revived."""
        received = b""
        with suppress(TimeoutError, ConnectionError), socket.create_connection(("127.0.0.1", self.number), 5) as made:
            made.settimeout(_ANSWER_SECONDS)
            made.sendall(sent)
            while len(received) < _LONGEST_ANSWER and (some := made.recv(65_536)):
                received += some
        return received
