"""The picture of a run: what was accepted and how long it took, over time, and the histograms. Needs matplotlib."""

from pathlib import Path
from typing import Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from order_service.stress import bars
from order_service.stress.histogram import Histogram
from order_service.stress.report import Report
from order_service.stress.timeline import Timeline

_INK: Final = "#2b2b2b"
_GRID: Final = "#e6e6e6"
_ACCEPTED: Final = "#2f6db3"
_FAILED: Final = "#b04a4a"
_OUTCOMES: Final = "#3a8f5c"
_PERCENTILES: Final = ((50, "p50", "#2f6db3"), (99, "p99", "#d9692c"))
_MILLISECONDS: Final = 1_000


def draw(report: Report, file: Path) -> None:
    """Writes the picture in the format that the file's name ends with. Raises OSError."""
    with mpl.rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "text.color": _INK}):
        figure = Figure(figsize=(11, 8), layout="constrained")
        figure.suptitle(_title(report), x=0.01, ha="left", fontsize=11, fontweight="bold")
        places = figure.subplot_mosaic(
            [["rate", "rate"], ["latency", "latency"], ["created", "settled"]], height_ratios=[2, 2, 1.6]
        )
        _draw_rate(places["rate"], report)
        _draw_latency(places["latency"], report.measured.timeline)
        places["latency"].sharex(places["rate"])
        _draw_histogram(places["created"], report.measured.created, "create latency", _ACCEPTED)
        settled = report.outcomes.seconds if report.outcomes else Histogram()
        _draw_histogram(places["settled"], settled, "time to outcome", _OUTCOMES)
        figure.savefig(file, dpi=130, metadata={"Date": None} if file.suffix.lower() == ".svg" else None)


def _title(report: Report) -> str:
    measured, plan = report.measured, report.measured.plan
    pace = f"{plan.concurrency} RPCs in flight" if plan.rate is None else f"{plan.rate:,.0f} orders/s asked for"
    return (
        f"{plan.target}: {measured.accepted:,} of {measured.sent:,} orders accepted, "
        f"{report.orders_per_second:,.0f} orders/s ({pace}, {plan.batch} in each)"
    )


def _draw_rate(axes: Axes, report: Report) -> None:
    """The last interval is as wide as what there is of it."""
    measured = report.measured
    timeline, ended = measured.timeline, measured.ended
    widths = [
        max(min(timeline.width, ended - place * timeline.width), timeline.width / 10)
        for place in range(len(timeline.intervals))
    ]
    times = [place * timeline.width + width / 2 for place, width in enumerate(widths)]
    for name, colour, counts in (
        ("accepted", _ACCEPTED, [one.accepted for one in timeline.intervals]),
        ("failed", _FAILED, [one.failed for one in timeline.intervals]),
    ):
        if any(counts) or name == "accepted":
            rates = [count / width for count, width in zip(counts, widths, strict=True)]
            axes.plot(times, rates, color=colour, linewidth=1.3, label=name, marker="." if len(times) < 3 else "")
            axes.fill_between(times, rates, color=colour, alpha=0.12, linewidth=0)
    if measured.plan.rate is not None:
        axes.axhline(measured.plan.rate, color=_INK, linewidth=0.8, linestyle=":", label="asked for")
    axes.set_ylabel("orders per second")
    _finish(axes)


def _draw_latency(axes: Axes, timeline: Timeline) -> None:
    answered = [(place, one.latencies) for place, one in enumerate(timeline.intervals) if one.latencies.count]
    times = [(place + 0.5) * timeline.width for place, _ in answered]
    for percent, name, colour in _PERCENTILES:
        values = [latencies.percentile(percent) * _MILLISECONDS for _, latencies in answered]
        axes.plot(times, values, color=colour, linewidth=1.3, label=name, marker="." if len(times) < 3 else "")
    axes.set_ylabel("create latency, ms")
    axes.set_xlabel("seconds")
    _finish(axes)


def _finish(axes: Axes) -> None:
    axes.set_ylim(bottom=0)
    axes.grid(axis="y", color=_GRID, linewidth=0.6)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="upper left", ncols=3, frameon=False)


def _draw_histogram(axes: Axes, histogram: Histogram, name: str, colour: str) -> None:
    rows = bars.rows(histogram)
    axes.set_title(name if rows else f"{name}: none", loc="left", fontsize=9)
    axes.bar(range(len(rows)), [row.count for row in rows], width=1.0, align="edge", color=colour, alpha=0.7)
    limits = [row.lower for row in rows] + [row.upper for row in rows[-1:]]
    axes.set_xticks(range(len(limits)), [bars.limit(limit) for limit in limits], rotation=45, ha="right")
