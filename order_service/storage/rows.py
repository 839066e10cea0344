"""Batches of rows as JSON documents for `json_to_recordset`."""

from collections.abc import Sequence
from typing import Any

import msgspec

_encoder = msgspec.json.Encoder(uuid_format="canonical")


def rows(batch: Sequence[Any]) -> str:
    """A JSON array of objects, one for each mapping or dataclass in `batch`."""
    return _encoder.encode(batch).decode()
