"""Rows by their names."""

import pytest

from tests.bench.api_rows import ROWS
from tests.bench.conduct import folder_name
from tests.bench.rows import row_named


@pytest.mark.parametrize("name", ["GetOrder", "getorder", "get"])
def test_a_row_is_found_by_the_beginning_of_its_name(name: str) -> None:
    assert row_named(name, ROWS).name == "GetOrder"


@pytest.mark.parametrize(("name", "why"), [("nope", "no row"), ("", "several rows")])
def test_a_name_that_is_not_one_rows_is_answered_with_those_there_are(name: str, why: str) -> None:
    with pytest.raises(ValueError, match=f"{why} of that name; there are: 'CreateOrder'; 'GetOrder'"):
        row_named(name, ROWS)


def test_each_row_has_a_folder_of_its_own_whose_name_does_well_in_a_path() -> None:
    names = {folder_name(row) for row in ROWS}

    assert len(names) == len(ROWS)
    assert all(name.replace("-", "").isalnum() for name in names)
