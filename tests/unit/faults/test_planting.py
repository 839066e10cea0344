"""Each planted bug still has a place in the code where it can be planted."""

from pathlib import Path

import pytest

from tests.faults.planted import BUGS, Edit, Planted
from tests.faults.planted.planting import NotPlanted, planted


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_each_bug_changes_a_copy_and_nothing_else(bug: Planted, tmp_path: Path) -> None:
    package = Path("order_service")
    before = {edit.file: (package / edit.file).read_text() for edit in bug.edits}

    copy = planted(bug, tmp_path) / "order_service"

    assert all((copy / file).read_text() != text for file, text in before.items())
    assert {file: (package / file).read_text() for file in before} == before


def test_there_are_at_least_25_bugs_each_with_a_name_of_its_own() -> None:
    assert len({bug.name for bug in BUGS}) == len(BUGS) >= 25


def test_a_bug_whose_place_is_gone_is_told_of(tmp_path: Path) -> None:
    gone = Edit("saga/engine.py", "a text that is nowhere", "")

    with pytest.raises(NotPlanted):
        gone.apply(Path("order_service"))
