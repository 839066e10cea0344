"""Whether this process can serve, as `/readyz` tells it."""

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Readiness:
    """What this process needs to serve, and whether it has it: name of the need -> empty, or what is wrong.

    Reported by the event loop and read by the threads of `http`, at any time. `changed` is called after each change."""

    needs: dict[str, str] = field(default_factory=dict)
    changed: Callable[[], None] = lambda: None

    def report(self, need: str, wrong: str = "") -> None:
        """Notes the state of one need."""
        before = self.needs.get(need)
        self.needs[need] = wrong
        if wrong != before:
            self.changed()

    def wrong(self) -> dict[str, str]:
        """The needs that are not met."""
        return {need: wrong for need, wrong in self.needs.copy().items() if wrong}
