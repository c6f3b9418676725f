"""The learning curve as SVG: AP and AP50 on the validation set over the number of labels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from io import StringIO
from typing import Any

from al_loop.report.data import Report
from al_loop.report.svg import AP, COLOURS, FAINT, INK, bare_axes, for_page
from al_loop.structures.metrics import Metrics

_PAPER, _AP50 = "#030303", "#050505"
_VARIABLES = {**COLOURS, _PAPER: "var(--paper)", _AP50: "var(--ap50)"}


@dataclass(frozen=True)
class Point:
    """A model on the curve; promoted: it was taken into use."""

    labels: int
    metrics: Metrics
    promoted: bool


@dataclass(frozen=True)
class Curve:
    """points: every judged model.  in_use: the metrics of the model in use, over the labels."""

    points: tuple[Point, ...]
    in_use: tuple[tuple[int, Metrics], ...]


def curve_of(report: Report) -> Curve | None:
    """Return the curve of a report; None while no model has been judged."""
    points, in_use = [], []
    if report.start and report.start.judged:
        points.append(Point(0, report.start.judged.metrics, promoted=True))
        in_use.append((0, report.start.judged.metrics))
    for cycle in reversed(report.cycles):
        if cycle.open or cycle.outcome == "abandoned":  # no model rests on it
            continue
        promoted = cycle.outcome == "promoted"
        if cycle.after:
            points.append(Point(cycle.labels, cycle.after.metrics, promoted))
        if used := cycle.after if promoted else cycle.before:
            in_use.append((cycle.labels, used.metrics))
    points = [point for point in points if math.isfinite(point.metrics.ap + point.metrics.ap50)]
    in_use = [place for place in in_use if math.isfinite(place[1].ap + place[1].ap50)]
    return Curve(tuple(points), tuple(in_use)) if points else None


def draw_curve(curve: Curve, width_in: float, height_in: float, name: str) -> str:
    """Return the plot as an SVG element whose colours are the page's; the same curve gives the same text.

    name: what sets its ids apart from another plot's on the same page.
    """
    import matplotlib
    from matplotlib.figure import Figure

    style = {"svg.fonttype": "none", "svg.hashsalt": name, "font.size": 10.0}
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(width_in, height_in), layout="constrained")
        axes = figure.add_subplot()
        _band(axes, curve)
        _series(axes, curve, "ap50", "AP50", _AP50, "--")
        _series(axes, curve, "ap", "AP", AP, "-")
        _dress(axes, curve)
        buffer = StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    return for_page(buffer.getvalue(), name, _VARIABLES)


def _series(axes: Any, curve: Curve, field: str, title: str, colour: str, line: str) -> None:
    axes.plot(
        [labels for labels, _ in curve.in_use],
        [getattr(metrics, field) for _, metrics in curve.in_use],
        line,
        color=colour,
        linewidth=2,
    )
    size = 7 if len(curve.points) <= 40 else 4
    for promoted, face in ((True, colour), (False, _PAPER)):
        some = [point for point in curve.points if point.promoted == promoted]
        axes.plot(
            [point.labels for point in some],
            [getattr(point.metrics, field) for point in some],
            "o",
            color=colour,
            markerfacecolor=face,
            markeredgewidth=2,
            markersize=size,
            zorder=3,
        )
    if curve.in_use:
        labels, metrics = curve.in_use[-1]
        value = getattr(metrics, field)
        axes.annotate(
            f"{title} {value:.3f}",
            (labels, value),
            xytext=(9, 0),
            textcoords="offset points",
            va="center",
            color=colour,
            fontweight="bold",
        )


def _band(axes: Any, curve: Curve) -> None:
    """The interval of the AP of the model in use, where it is known."""
    known = [
        (labels, m.low, m.high) for labels, m in curve.in_use if m.low is not None and m.high is not None
    ]
    if known:
        labels, low, high = zip(*known, strict=True)
        axes.fill_between(labels, low, high, color=AP, alpha=0.15, linewidth=0)
        axes.errorbar(
            labels, low, yerr=[[0.0] * len(low), [b - a for a, b in zip(low, high, strict=True)]],
            fmt="none", ecolor=AP, elinewidth=1, capsize=3, alpha=0.6,
        )  # fmt: skip


def _dress(axes: Any, curve: Curve) -> None:
    """Set axes, grid and limits; AP starts at 0, so that heights compare."""
    from matplotlib.ticker import MaxNLocator

    best = max(max(p.metrics.ap, p.metrics.ap50, p.metrics.high or 0.0) for p in curve.points)
    most = max(point.labels for point in curve.points)
    axes.set_ylim(0, min(1.02, max(0.1, best * 1.15)))
    axes.set_xlim(-0.03 * max(most, 1), 1.24 * max(most, 1))  # room at the right for the lines' names
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6))
    axes.set_xlabel("labelled images")
    axes.set_ylabel("AP on the validation set")
    bare_axes(axes, INK, FAINT)
