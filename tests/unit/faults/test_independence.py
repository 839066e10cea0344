"""The judge knows nothing of the service's code."""

import ast
from pathlib import Path

import pytest

FAULTS = Path(__file__).parents[2] / "faults"
PURE = [FAULTS / "history.py", FAULTS / "judge.py", *sorted((FAULTS / "rules").glob("*.py"))]
ALLOWED = {"collections", "collections.abc", "dataclasses", "datetime", "enum", "typing"}


def imported(path: Path) -> set[str]:
    """The modules that a file imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            found.add(node.module or "" if not node.level else "a relative import")
    return found


@pytest.mark.parametrize("path", PURE, ids=lambda path: path.name)
def test_the_judge_imports_nothing_but_itself_and_plain_values(path: Path) -> None:
    others = {name for name in imported(path) if not name.startswith(("tests.faults.rules", "tests.faults.history"))}

    assert others <= ALLOWED


def test_nothing_is_imported_by_a_name_made_at_run_time() -> None:
    for path in PURE:
        names = {node.id for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Name)}
        assert not names & {"__import__", "eval", "exec", "importlib"}
