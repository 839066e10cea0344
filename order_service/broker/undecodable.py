"""Messages whose properties pamqp cannot decode.

AMQP 0-9-1 lets a property hold any octets; pamqp raises for a message id, a header name or a timestamp that Python has
no value for, and the connection is lost with it. Such a message would come again on the next connection, and on the one
after that: one of them would stop a queue for good. So properties that cannot be decoded are kept as they are, in a
header of their own, and the message goes the way of every other.
"""

from typing import Any, Final

import structlog
from pamqp.commands import Basic

log: Final = structlog.get_logger()

RAW_PROPERTIES: Final = "x-undecodable-properties"
_decode: Final = Basic.Properties.unmarshal


def tolerate_undecodable_properties() -> None:
    """Makes pamqp keep what it cannot decode. Once or more in a process, before the first connection."""
    setattr(Basic.Properties, "unmarshal", _tolerant)  # noqa: B010 - mypy knows it as a method


def _tolerant(properties: Basic.Properties, flags: int, data: bytes) -> None:
    try:
        _decode(properties, flags, data)
    except Exception:
        log.warning("broker.undecodable_properties", size=len(data))
        for name in properties.__slots__:
            setattr(properties, name, None)
        kept: dict[str, Any] = {RAW_PROPERTIES: data}
        properties.headers = kept
