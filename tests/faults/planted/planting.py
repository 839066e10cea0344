"""Plants a bug in a copy of the package."""

import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from tests.faults.planted.stage import Stage

PACKAGE = Path(__file__).parents[3] / "order_service"

Scenario = Callable[[Stage], Awaitable[None]]


class NotPlanted(Exception):
    """The text that a bug replaces is not there, or there more than once: the bug must be written anew."""


@dataclass(frozen=True, slots=True)
class Edit:
    """`new` takes the place of `old` in a file of the package."""

    file: str
    old: str
    new: str

    def apply(self, package: Path) -> None:
        """Changes the copy. Raises NotPlanted."""
        path = package / self.file
        text = path.read_text()
        if text.count(self.old) != 1:
            raise NotPlanted(f"{self.file} holds {self.old!r} {text.count(self.old)} times")
        changed = text.replace(self.old, self.new)
        if path.suffix == ".py":
            compile(changed, str(path), "exec")
        path.write_text(changed)


@dataclass(frozen=True, slots=True)
class Planted:
    """A bug, in a sentence, and the scenario that brings it out."""

    name: str
    scenario: Scenario
    edits: tuple[Edit, ...]


def planted(bug: Planted | None, folder: Path) -> Path:
    """A folder to put first on the path of processes: a copy of the package with the bug, or an unchanged one for None.
    Raises NotPlanted."""
    copy = folder / "order_service"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    for edit in bug.edits if bug else ():
        edit.apply(copy)
    return folder
