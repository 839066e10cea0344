"""The picture of a run: what flowed, what piled up, and what was broken when."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tests.chaos.conduct import Run
from tests.chaos.measuring import Struck

_BINS: Final = 150
_SHORTEST_BIN_SECONDS: Final = 2.0
_INK: Final = "#2b2b2b"
_GROUPS: Final = {"process": "#7a5195", "PostgreSQL": "#2f6db3", "broker": "#d9692c", "replies": "#3a8f5c"}
_ACKNOWLEDGED: Final = "#2f6db3"
_OUTCOMES: Final = "#3a8f5c"
_BACKLOG: Final = "#b04a4a"


def draw_picture(run: Run, title: str, files: Sequence[Path]) -> None:
    """Writes the picture to each of the files, in the format that its name ends with."""
    mpl.use("Agg")
    mpl.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "text.color": _INK})
    kinds = _by_resource(run)
    figure = Figure(figsize=(14, 6.2 + 0.2 * len(kinds)), layout="constrained")
    flow, backlog, marks = figure.subplots(3, 1, sharex=True, height_ratios=[3.4, 1.6, 0.42 + 0.19 * len(kinds)])
    _draw_flow(flow, run)
    _draw_backlog(backlog, run)
    _draw_marks(marks, run, kinds)
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    for file in files:
        figure.savefig(file, dpi=130, metadata={"Date": None} if file.suffix == ".svg" else None)


def _draw_flow(axes: Axes, run: Run) -> None:
    length = max(run.timeline.outcomes.values(), default=run.ended_at) - run.began_at
    for moments, colour, label in (
        (run.traffic.acknowledged.values(), _ACKNOWLEDGED, "acknowledged"),
        (run.timeline.outcomes.values(), _OUTCOMES, "outcomes"),
    ):
        times, rates = _rates([moment - run.began_at for moment in moments], length)
        axes.plot(times, rates, color=colour, linewidth=1.3, label=label)
        axes.fill_between(times, rates, color=colour, alpha=0.12, linewidth=0)
    axes.set_ylabel("orders per second")
    axes.set_ylim(bottom=0)
    axes.set_xlim(0, length)
    axes.axvline(run.ended_at - run.began_at, color=_INK, linewidth=0.8, linestyle=":")
    axes.legend(loc="upper left", ncols=2, frameon=False)
    _shade(axes, run)


def _draw_backlog(axes: Axes, run: Run) -> None:
    times = [at - run.began_at for at, _ in run.timeline.backlog]
    counts = [count for _, count in run.timeline.backlog]
    axes.fill_between(times, counts, color=_BACKLOG, alpha=0.3, linewidth=0)
    axes.plot(times, counts, color=_BACKLOG, linewidth=1.1)
    axes.set_ylabel("events in the outbox")
    axes.set_ylim(bottom=0)
    _shade(axes, run)


def _draw_marks(axes: Axes, run: Run, kinds: Sequence[str]) -> None:
    rows = {kind: place for place, kind in enumerate(reversed(kinds))}
    for one in run.struck:
        begin, end = _span(one, run)
        axes.barh(rows[one.fault.kind], max(end - begin, 0.8), left=begin, height=0.7, color=_colour(run, one))
    axes.set_yticks(list(rows.values()), list(rows))
    for label in axes.get_yticklabels():
        label.set_color(_GROUPS[run.kinds[label.get_text()].shape.resource])
    axes.set_ylim(-0.7, len(rows) - 0.3)
    axes.grid(axis="y", color="#e6e6e6", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("seconds (each bar: from the strike until what was hurt could work again)")


def _shade(axes: Axes, run: Run) -> None:
    """Where a server was hurt: what stops the flow, or may."""
    for one in run.struck:
        if run.kinds[one.fault.kind].shape.resource in ("PostgreSQL", "broker"):
            axes.axvspan(*_span(one, run), color=_colour(run, one), alpha=0.08, linewidth=0)


def _by_resource(run: Run) -> list[str]:
    struck = {one.fault.kind for one in run.struck}
    order = list(_GROUPS)
    return sorted(struck, key=lambda kind: (order.index(run.kinds[kind].shape.resource), kind.lower()))


def _colour(run: Run, one: Struck) -> str:
    return _GROUPS[run.kinds[one.fault.kind].shape.resource]


def _span(one: Struck, run: Run) -> tuple[float, float]:
    return one.struck_at - run.began_at, (one.healed_at or run.ended_at) - run.began_at


def _rates(moments: Iterable[float], length: float) -> tuple[list[float], list[float]]:
    """How many a second, in equal bins; each at the middle of its bin."""
    width = max(_SHORTEST_BIN_SECONDS, length / _BINS)
    bins = [0] * (int(length / width) + 1)
    for moment in moments:
        bins[min(max(int(moment / width), 0), len(bins) - 1)] += 1
    return [(place + 0.5) * width for place in range(len(bins))], [count / width for count in bins]
