"""Checks of single fields, which collect what is wrong instead of stopping at the first."""

import unicodedata
from typing import Final
from uuid import UUID

from order_service.domain.errors import FieldViolation, InvalidRequest

MAX_PAGE: Final = 1_000
MAX_ID_LENGTH: Final = 255
_UUID_LENGTH: Final = 36


class Checks:
    """Collects what is wrong with a request."""

    def __init__(self) -> None:
        self._violations: list[FieldViolation] = []

    def wrong(self, field: str, description: str) -> None:
        """Notes a violation."""
        self._violations.append(FieldViolation(field, description))

    def raise_any(self) -> None:
        """Raises InvalidRequest if there was any violation."""
        if self._violations:
            raise InvalidRequest(self._violations)

    def identifier(self, field: str, value: str, required: bool = True) -> str:
        """An id that somebody else made: 1 to 255 characters, none of them a control character."""
        if not value:
            if required:
                self.wrong(field, "must not be empty")
        elif len(value) > MAX_ID_LENGTH:
            self.wrong(field, f"must have at most {MAX_ID_LENGTH} characters")
        elif has_control_characters(value):
            self.wrong(field, "must not have control characters")
        return value

    def order_id(self, field: str, value: str) -> UUID:
        """An order's id: a UUID in its usual form."""
        try:
            if len(value) == _UUID_LENGTH:
                return UUID(value)
        except ValueError:
            pass
        self.wrong(field, "must be a UUID" if value else "must not be empty")
        return UUID(int=0)

    def page_size(self, value: int, default: int) -> int:
        """AIP-158: negative is an error, 0 the default, too much is lowered."""
        if value < 0:
            self.wrong("page_size", "must not be negative")
        return min(value, MAX_PAGE) or default


def has_control_characters(text: str) -> bool:
    """Whether any character is a control character (Unicode Cc)."""
    return not text.isprintable() and any(unicodedata.category(character) == "Cc" for character in text)
