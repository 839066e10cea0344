"""A proxy that knows where the messages of PostgreSQL, AMQP and gRPC begin and end, and can break anything between two.

Between two messages on the wire a process holds nothing but memory. So a process that is killed at each message, before
and after it is delivered, has been killed at every instant that anybody could tell from another.

`framing` cuts streams of bytes into messages and knows no sockets; `proxy` passes them on one by one and asks a plan
about each. It is exact: a segment that carries several messages is split, and from the instant of a strike on nothing
that the struck process had sent, or was about to get, is delivered any more.
"""

from tests.faults.wire.framing import Direction, Framing, FramingError, Protocol, framing_of
from tests.faults.wire.proxy import Act, Message, Plan, Wire

__all__ = ["Act", "Direction", "Framing", "FramingError", "Message", "Plan", "Protocol", "Wire", "framing_of"]
