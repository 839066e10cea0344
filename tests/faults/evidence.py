"""Keeps what is needed to understand a point at which something was wrong."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.faults.campaign import Failed
from tests.faults.lane import Lane
from tests.faults.report import message_of
from tests.faults.trying import Tried


def keep(tried: Tried | Failed, lane: Lane | None, folder: Path, seed: int) -> Path:
    """Writes it to a folder named after the point; returns that folder."""
    kept = folder / str(tried.point).replace(":", "-")
    shutil.rmtree(kept, ignore_errors=True)
    kept.mkdir(parents=True)
    (kept / "point.json").write_text(json.dumps(_point(tried, seed), indent=2) + "\n")
    if isinstance(tried, Tried):
        (kept / "history.json").write_text(json.dumps(asdict(tried.history), indent=1, default=_plain) + "\n")
    if lane is not None:
        for log in lane.platform.folder.glob("*.log"):
            shutil.copy(log, kept)
    return kept


def _point(tried: Tried | Failed, seed: int) -> dict[str, Any]:
    replay = f"python -m tests.faults --no-planted --point {tried.point}"
    if isinstance(tried, Failed):
        return {"point": str(tried.point), "seed": seed, "replay": replay, "failed": tried.told}
    message = asdict(tried.message) if tried.message else None
    return {
        "point": str(tried.point),
        "seed": seed,
        "replay": replay,
        "at": message_of(tried),
        "message": json.loads(json.dumps(message, default=_plain)),
        "violations": [asdict(violation) for violation in tried.violations],
        "notes": tried.notes,
        "settled_after_seconds": tried.settled_after,
    }


def _plain(value: Any) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
