"""The picture of a run: how far each row is from its target."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Picture

from tests.bench.measured import Compared
from tests.bench.words import target_text

_INK: Final = "#2b2b2b"
_HOLDS: Final = "#3a8f5c"
_MISSED: Final = "#c0504d"
_WHISKER: Final = "#2b2b2b"
_STYLE: Final[Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "svg.hashsalt": "order-service",
    "svg.fonttype": "path",
}


def score(compared: Compared, ratio: float) -> float:
    """How many times the target a ratio is; where less is better, the other way round: 1 and more always holds."""
    row = compared.row
    if row.at_most is not None:
        return row.at_most / ratio
    return ratio / row.at_least if row.at_least else ratio


def draw(results: Sequence[Compared], caption: str, files: Sequence[Path]) -> None:
    """Writes the picture to each of the files, in the format that its name ends with. The same results give the same
    bytes."""
    mpl.use("Agg")
    with mpl.rc_context(_STYLE):
        picture = Picture(figsize=(11, 1.9 + 0.62 * len(results)), layout="constrained", facecolor="white")
        axes = picture.subplots()
        _draw_bars(axes, results)
        picture.suptitle("The service beside what its parts can do at all", x=0.01, ha="left", fontweight="bold")
        picture.supxlabel(caption, x=0.01, ha="left", fontsize=8, color="#6b6b6b")
        for file in files:
            file.parent.mkdir(parents=True, exist_ok=True)
            unstamped = {"Date": None} if file.suffix == ".svg" else {"Software": None}
            picture.savefig(file, dpi=130, metadata=unstamped)


def _draw_bars(axes: Axes, results: Sequence[Compared]) -> None:
    places = range(len(results))
    scores = [score(one, one.ratio) for one in results]
    ends = [sorted(score(one, ratio) for ratio in one.spread) for one in results]
    # A median lies within its spread; rounding may say otherwise in the last digit.
    whiskers = [
        [max(0.0, middle - least) for middle, (least, _) in zip(scores, ends, strict=True)],
        [max(0.0, greatest - middle) for middle, (_, greatest) in zip(scores, ends, strict=True)],
    ]
    colours = [_HOLDS if one.holds else _MISSED for one in results]
    axes.barh(places, scores, color=colours, height=0.56, zorder=2)
    axes.errorbar(scores, places, xerr=whiskers, fmt="none", ecolor=_WHISKER, elinewidth=1.2, capsize=4, zorder=3)
    axes.axvline(1, color=_INK, linewidth=1.4, linestyle="--", zorder=4)
    axes.set_yticks(places, [one.row.name for one in results])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(results) - 0.5, -0.5)
    axes.set_xlim(0, max([1.0, *(greatest for _, greatest in ends)]) * 1.04)
    axes.grid(axis="x", color="#e6e6e6", linewidth=0.8, zorder=0)
    axes.set_xlabel("ratio to the limit, relative to its target; 1 and more holds (whiskers: least and greatest round)")
    beside = axes.secondary_yaxis("right")
    beside.set_yticks(places, [f"{one.ratio:.2f}  (target {target_text(one.row)})" for one in results])
    beside.tick_params(length=0)
    beside.spines["right"].set_visible(False)
