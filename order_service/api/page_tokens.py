"""Page tokens (AIP-158): opaque, and good only for the question they were made for."""

import base64
import hashlib
from typing import Final
from uuid import UUID

from order_service.api.checks import Checks

_DIGEST_SIZE: Final = 8
_CURSOR_SIZE: Final = 16


def to_token(cursor: UUID, question: bytes) -> str:
    """The token that leads on from `cursor`, for who asks the same question again."""
    return base64.urlsafe_b64encode(cursor.bytes + _digest(cursor, question)).decode()


def from_token(checks: Checks, token: str, question: bytes) -> UUID | None:
    """Where the token leads on from; None for the first page. Notes a token that is not one of this question's."""
    if not token:
        return None
    try:
        raw = base64.b64decode(token, altchars=b"-_", validate=True)
        cursor = UUID(bytes=raw[:_CURSOR_SIZE])
        if raw[_CURSOR_SIZE:] == _digest(cursor, question):
            return cursor
    except ValueError:
        pass
    checks.wrong("page_token", "is not a token of this list")
    return None


def _digest(cursor: UUID, question: bytes) -> bytes:
    return hashlib.blake2b(cursor.bytes + question, digest_size=_DIGEST_SIZE).digest()
