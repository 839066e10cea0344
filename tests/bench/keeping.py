"""What stays of a run: its figures for machines, and its picture."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.bench.conduct import Run
from tests.bench.measured import SECONDS, Row
from tests.bench.plot import draw
from tests.bench.servers import Environment


def keep(run: Run, rows: Sequence[Row], environment: Environment, folders: Sequence[Path]) -> list[Path]:
    """Writes bench.json to the first of the folders, and bench.png and bench.svg to each; all that it wrote. Without a
    round there is no picture."""
    figures = folders[0] / "bench.json"
    figures.parent.mkdir(parents=True, exist_ok=True)
    figures.write_text(json.dumps(as_json(run, rows, environment), indent=2) + "\n")
    compared = run.compared(rows)
    if not compared:
        return [figures]
    pictures = [folder / f"bench.{kind}" for folder in folders for kind in ("png", "svg")]
    draw(compared, " · ".join(environment.short()), pictures)
    return [figures, *pictures]


def as_json(run: Run, rows: Sequence[Row], environment: Environment) -> dict[str, Any]:
    """All that is known of a run."""
    return {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "took_seconds": round(run.seconds, 1),
        "side_seconds": SECONDS.get(),
        "environment": environment.as_json(),
        "rows": [one.as_json() for one in run.compared(rows)],
        "not_measured": dict(run.failures),
    }
