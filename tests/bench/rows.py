"""All rows, in the order of the table."""

from collections.abc import Sequence

from tests.bench import api_rows, messaging_rows, saga_rows
from tests.bench.measured import Row


def all_rows() -> Sequence[Row]:
    """Those of every part of the service."""
    return (*api_rows.ROWS, *messaging_rows.ROWS, *saga_rows.ROWS)


def row_named(name: str, rows: Sequence[Row]) -> Row:
    """The row whose name is that, or the only one whose name begins so, in whatever case. Raises ValueError."""
    found = [row for row in rows if row.name.lower().startswith(name.lower())]
    exact = [row for row in found if row.name.lower() == name.lower()]
    if len(exact or found) != 1:
        raise ValueError(f"{'several rows' if found else 'no row'} of that name; there are: {_names(rows)}")
    return (exact or found)[0]


def _names(rows: Sequence[Row]) -> str:
    return "; ".join(f"'{row.name}'" for row in rows)
