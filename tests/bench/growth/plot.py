"""The picture of a run: a panel for each measure, its bound as a dashed line."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Picture

from tests.bench.growth.measured import Measured
from tests.bench.plot import _STYLE

_COLOURS: Final = ("#3a6ea5", "#3a8f5c", "#c98a2b", "#8e5ea2")
_COLUMNS: Final = 3


def draw(measured: Sequence[Measured], caption: str, files: Sequence[Path]) -> None:
    """Writes the picture to each of the files, in the format that its name ends with. The same results give the same
    bytes. What has no curves is left out."""
    drawn = [one for one in measured if one.panel.curves]
    mpl.use("Agg")
    with mpl.rc_context({**_STYLE, "font.size": 9, "axes.spines.left": True}):
        rows = max(1, -(-len(drawn) // _COLUMNS))
        picture = Picture(figsize=(12, 0.9 + 3.1 * rows), layout="constrained", facecolor="white")
        places = picture.subplots(rows, _COLUMNS, squeeze=False)
        for place, axes in enumerate(places.flat):
            if place < len(drawn):
                _draw_panel(axes, drawn[place])
            else:
                axes.set_axis_off()
        picture.suptitle("How cost grows (dashed: the bound)", x=0.01, ha="left", fontweight="bold")
        picture.supxlabel(caption, x=0.01, ha="left", fontsize=8, color="#6b6b6b")
        for file in files:
            file.parent.mkdir(parents=True, exist_ok=True)
            unstamped = {"Date": None} if file.suffix == ".svg" else {"Software": None}
            picture.savefig(file, dpi=130, metadata=unstamped)


def _draw_panel(axes: Axes, one: Measured) -> None:
    panel = one.panel
    for colour, (name, curve) in zip(_COLOURS, panel.curves.items(), strict=False):
        marker = "o" if len(curve) < 20 else ""
        axes.plot([x for x, _ in curve], [y for _, y in curve], color=colour, label=name, marker=marker, markersize=4)
    heights = [y for curve in panel.curves.values() for _, y in curve]
    if panel.bound is not None:
        axes.axhline(panel.bound, color="#2b2b2b", linewidth=1.2, linestyle="--")
        heights.append(panel.bound)
    axes.set_ylim(0, max(heights) * 1.2)
    axes.set_title(one.result.name if one.result.ok else f"{one.result.name}: MISSED", loc="left", fontsize=10)
    axes.set_xlabel(panel.x)
    axes.set_ylabel(panel.y)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(nbins=5, integer=True))
    axes.grid(axis="y", color="#e6e6e6", linewidth=0.8, zorder=0)
    if len(panel.curves) > 1:
        axes.legend(frameon=False, loc="lower left")
