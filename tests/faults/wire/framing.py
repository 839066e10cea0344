"""Cuts what a connection carries into messages. Pure: bytes in, messages out."""

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Final, assert_never
from typing import Protocol as TypingProtocol

from pamqp.commands import INDEX_MAPPING


class Protocol(StrEnum):
    """What a connection speaks."""

    POSTGRESQL = "postgresql"
    AMQP = "amqp"
    GRPC = "grpc"


class Direction(StrEnum):
    """Which way a message goes. The server is who listens."""

    TO_SERVER = "to server"
    TO_CLIENT = "to client"


class FramingError(Exception):
    """The bytes are not what the protocol allows: nobody can tell any more where a message begins."""


class Framing(TypingProtocol):
    """The messages of one connection, both ways."""

    def feed(self, direction: Direction, data: bytes) -> Iterator[tuple[str, bytes]]:
        """Name and bytes of each message that is complete now, in order; the rest is kept. Raises FramingError."""
        ...


def framing_of(protocol: Protocol) -> Framing:
    """That of a new connection."""
    match protocol:
        case Protocol.POSTGRESQL:
            return PostgresqlFraming()
        case Protocol.AMQP:
            return AmqpFraming()
        case Protocol.GRPC:
            return Http2Framing()
        case _:
            assert_never(protocol)


class PostgresqlFraming:
    """PostgreSQL's protocol 3: a type byte and a length, but for the start of a connection.

    See "Message Formats" in PostgreSQL's documentation."""

    def __init__(self) -> None:
        self._rest = {direction: bytearray() for direction in Direction}
        self._is_starting = True
        self._answers_owed = 0

    def feed(self, direction: Direction, data: bytes) -> Iterator[tuple[str, bytes]]:
        rest = self._rest[direction]
        rest += data
        while rest:
            size = self._size(direction, rest)
            if size is None or len(rest) < size:
                return
            raw = bytes(rest[:size])
            del rest[:size]
            yield self._name(direction, raw), raw

    def _size(self, direction: Direction, rest: bytearray) -> int | None:
        if direction is Direction.TO_CLIENT and self._answers_owed:
            return 1
        start = 0 if direction is Direction.TO_SERVER and self._is_starting else 1
        if len(rest) < start + 4:
            return None
        length = int.from_bytes(rest[start : start + 4])
        if length < 4 or length > _LARGEST_POSTGRESQL:
            raise FramingError(f"PostgreSQL {direction}: a message of {length} bytes")
        return start + length

    def _name(self, direction: Direction, raw: bytes) -> str:
        if direction is Direction.TO_CLIENT:
            return self._server_name(raw)
        if self._is_starting:
            return self._start_name(raw)
        return _name_of(_FROM_CLIENT, raw[:1])

    def _start_name(self, raw: bytes) -> str:
        name = _STARTS.get(int.from_bytes(raw[4:8]), "Startup")
        if name in _ANSWERED_BY_A_BYTE:
            self._answers_owed += 1
        else:
            self._is_starting = False
        return name

    def _server_name(self, raw: bytes) -> str:
        if not self._answers_owed:
            return _name_of(_FROM_SERVER, raw[:1])
        self._answers_owed -= 1
        if raw != b"N":
            raise FramingError("PostgreSQL: the connection would be encrypted, and nobody could look into it")
        return "EncryptionRefused"


class AmqpFraming:
    """AMQP 0-9-1: the client's protocol header, then frames. See its specification, 4.2."""

    def __init__(self) -> None:
        self._rest = {direction: bytearray() for direction in Direction}

    def feed(self, direction: Direction, data: bytes) -> Iterator[tuple[str, bytes]]:
        rest = self._rest[direction]
        rest += data
        while (size := _amqp_size(rest)) is not None and len(rest) >= size:
            raw = bytes(rest[:size])
            del rest[:size]
            yield _amqp_name(raw), raw


class Http2Framing:
    """HTTP/2, which gRPC speaks: the client's preface, then frames. See RFC 9113, 3.4 and 4.1."""

    def __init__(self) -> None:
        self._rest = {direction: bytearray() for direction in Direction}
        self._preface_awaited = True

    def feed(self, direction: Direction, data: bytes) -> Iterator[tuple[str, bytes]]:
        rest = self._rest[direction]
        rest += data
        while rest:
            prefaced = direction is Direction.TO_SERVER and self._preface_awaited
            if len(rest) < 9:
                return
            size = len(_HTTP2_PREFACE) if prefaced else 9 + int.from_bytes(rest[:3])
            if len(rest) < size:
                return
            raw = bytes(rest[:size])
            del rest[:size]
            if prefaced:
                self._preface_awaited = False
            yield _http2_preface(raw) if prefaced else _HTTP2.get(raw[3], f"Unknown {raw[3]}"), raw


def _amqp_size(rest: bytearray) -> int | None:
    if rest[:4] == b"AMQP":
        return 8
    if len(rest) < 7:
        return None
    return 7 + int.from_bytes(rest[3:7]) + 1


def _amqp_name(raw: bytes) -> str:
    if raw[:4] == b"AMQP":
        return "ProtocolHeader"
    if raw[-1] != _AMQP_END:
        raise FramingError(f"AMQP: a frame ends with {raw[-1]:#04x}")
    if raw[0] == _AMQP_METHOD:
        method = INDEX_MAPPING.get(int.from_bytes(raw[7:11]))
        return str(getattr(method, "name", "Unknown"))
    return _AMQP.get(raw[0], f"Unknown {raw[0]}")


def _http2_preface(raw: bytes) -> str:
    if raw != _HTTP2_PREFACE:
        raise FramingError("HTTP/2: the client began with something else than its preface")
    return "Preface"


def _name_of(names: Mapping[bytes, str], kind: bytes) -> str:
    try:
        return names[kind]
    except KeyError:
        raise FramingError(f"PostgreSQL: there is no message {kind!r}") from None


_LARGEST_POSTGRESQL: Final = 1 << 30
_STARTS: Final = {80877102: "CancelRequest", 80877103: "SSLRequest", 80877104: "GSSENCRequest"}
_ANSWERED_BY_A_BYTE: Final = ("SSLRequest", "GSSENCRequest")
_FROM_CLIENT: Final = {
    b"B": "Bind",
    b"C": "Close",
    b"D": "Describe",
    b"E": "Execute",
    b"F": "FunctionCall",
    b"H": "Flush",
    b"P": "Parse",
    b"Q": "Query",
    b"S": "Sync",
    b"X": "Terminate",
    b"c": "CopyDone",
    b"d": "CopyData",
    b"f": "CopyFail",
    b"p": "Password",
}
_FROM_SERVER: Final = {
    b"1": "ParseComplete",
    b"2": "BindComplete",
    b"3": "CloseComplete",
    b"A": "NotificationResponse",
    b"C": "CommandComplete",
    b"D": "DataRow",
    b"E": "ErrorResponse",
    b"G": "CopyInResponse",
    b"H": "CopyOutResponse",
    b"I": "EmptyQueryResponse",
    b"K": "BackendKeyData",
    b"N": "NoticeResponse",
    b"R": "Authentication",
    b"S": "ParameterStatus",
    b"T": "RowDescription",
    b"V": "FunctionCallResponse",
    b"W": "CopyBothResponse",
    b"Z": "ReadyForQuery",
    b"c": "CopyDone",
    b"d": "CopyData",
    b"n": "NoData",
    b"s": "PortalSuspended",
    b"t": "ParameterDescription",
    b"v": "NegotiateProtocolVersion",
}
_AMQP_METHOD: Final = 1
_AMQP: Final = {2: "Header", 3: "Body", 8: "Heartbeat"}
_AMQP_END: Final = 0xCE
_HTTP2_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_HTTP2: Final = {
    0: "DATA",
    1: "HEADERS",
    2: "PRIORITY",
    3: "RST_STREAM",
    4: "SETTINGS",
    5: "PUSH_PROMISE",
    6: "PING",
    7: "GOAWAY",
    8: "WINDOW_UPDATE",
    9: "CONTINUATION",
}
