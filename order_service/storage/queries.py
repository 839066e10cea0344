"""Named queries out of the `.sql` files: each begins with a line `-- name: NAME`, followed by its purpose."""

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

_NAME_LINE = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


@cache
def queries(table: str) -> Mapping[str, bytes]:
    """The queries of `sql/<table>.sql`, by name. Raises FileNotFoundError."""
    text = files("order_service.storage").joinpath("sql", f"{table}.sql").read_text()
    _, *parts = _NAME_LINE.split(text)
    return {name: query.strip().encode() for name, query in zip(parts[::2], parts[1::2], strict=True)}
