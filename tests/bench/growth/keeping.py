"""What is shown of a run, and what stays of it."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.bench.growth.conduct import Run
from tests.bench.growth.plot import draw
from tests.bench.servers import Environment


def show(run: Run, environment: Environment, console: Console) -> None:
    """The table: each bound, and below those of a measure the figures they come from."""
    table = Table("measure", "what")
    table.add_column("measured", justify="right", no_wrap=True)
    table.add_column("bound", no_wrap=True)
    table.add_column("", no_wrap=True)
    for one in run.measured:
        result = one.result
        for bound in result.bounds:
            table.add_row(result.name, bound.what, f"{bound.measured:,}", bound.limit, "ok" if bound.ok else "MISSED")
        for name, figure in result.figures.items():
            table.add_row("", f"  {name}", f"{figure:,}", "", "", style="dim")
        table.add_section()
    console.print(table)
    for name, why in run.failures.items():
        console.print(f"{name}: not measured: {why}", markup=False)
    for line in environment.lines():
        console.print(line, markup=False)


def keep(run: Run, scale: float, environment: Environment, folders: Sequence[Path]) -> list[Path]:
    """Writes bench-growth.json to the first of the folders, growth.png and growth.svg to each; all that it wrote."""
    file = folders[0] / "bench-growth.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "took_seconds": round(run.seconds, 1),
        "scale": scale,
        "environment": environment.as_json(),
        "measures": [one.as_json() for one in run.measured],
        "not_measured": dict(run.failures),
    }
    file.write_text(json.dumps(content, indent=2) + "\n")
    if not any(one.panel.curves for one in run.measured):
        return [file]
    pictures = [folder / f"growth.{kind}" for folder in folders for kind in ("png", "svg")]
    draw(run.measured, " · ".join([*environment.short(), f"scale {scale:g}"]), pictures)
    return [file, *pictures]
