"""The learning curve: AP and AP50 on the validation set over the number of labels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from al_loop.report.data import Report
from al_loop.report.svg import AP, draw, label_axes
from al_loop.state.database.model_table import Evaluation
from al_loop.structures.metrics import MaskMetrics, MetricName, Metrics

_PAPER, _AP50 = "#030303", "#050505"


@dataclass(frozen=True)
class Point:
    """A model on the curve."""

    labels: int
    metrics: Metrics | MaskMetrics
    promoted: bool


@dataclass(frozen=True)
class Curve:
    """points: every evaluated model.  in_use: (labels, metrics of the model in use).  title: of AP."""

    points: tuple[Point, ...]
    in_use: tuple[tuple[int, Metrics | MaskMetrics], ...]
    title: str


def curve_of(report: Report) -> Curve | None:
    """Return the curve of a report; None while no model has been evaluated."""
    points, in_use = list[Point](), list[tuple[int, Metrics | MaskMetrics]]()
    start = report.start
    if start and (metrics := _finite(start.evaluation, report.metric)):
        points.append(Point(start.labels, metrics, promoted=True))
        in_use.append((start.labels, metrics))
    for cycle in reversed(report.cycles):
        if cycle.open or cycle.outcome == "abandoned":  # no model rests on it
            continue
        promoted = cycle.outcome == "promoted"
        if metrics := _finite(cycle.after, report.metric):
            points.append(Point(cycle.labels, metrics, promoted))
        if metrics := _finite(cycle.after if promoted else cycle.before, report.metric):
            in_use.append((cycle.labels, metrics))
    return Curve(tuple(points), tuple(in_use), report.title) if points else None


def _finite(evaluation: Evaluation | None, metric: MetricName) -> Metrics | MaskMetrics | None:
    """Return the metrics of boxes or masks, if there are any and AP is a number."""
    metrics = evaluation.metrics.of(metric) if evaluation else None
    return metrics if metrics and math.isfinite(metrics.ap + metrics.ap50) else None


def draw_curve(curve: Curve, size_in: tuple[float, float], name: str) -> str:
    """Return the plot as an SVG element; name: see `draw`."""

    def paint(axes: Any) -> None:
        _band(axes, curve)
        _series(axes, curve, "ap50", "AP50", _AP50, "--")
        _series(axes, curve, "ap", curve.title, AP, "-")
        _scale(axes, curve)
        label_axes(axes, "labelled images", f"{curve.title} on the validation set")

    return draw(paint, size_in, name, {_PAPER: "var(--paper)", _AP50: "var(--ap50)"})


def _series(axes: Any, curve: Curve, field: str, title: str, colour: str, line: str) -> None:
    """Draw a line of the model in use, a point for each model, hollow if it was not promoted."""
    used = [(labels, getattr(metrics, field)) for labels, metrics in curve.in_use]
    axes.plot(*(zip(*used, strict=True) if used else ((), ())), line, color=colour, linewidth=2)
    size = 49 if len(curve.points) <= 40 else 16
    x = [point.labels for point in curve.points]
    y = [getattr(point.metrics, field) for point in curve.points]
    faces = [colour if point.promoted else _PAPER for point in curve.points]
    axes.scatter(x, y, size, faces, edgecolors=colour, linewidths=2, zorder=3)
    if used:
        axes.annotate(
            f"{title} {used[-1][1]:.3f}", used[-1], xytext=(9, 0), textcoords="offset points",
            va="center", color=colour, fontweight="bold",
        )  # fmt: skip


def _band(axes: Any, curve: Curve) -> None:
    """Draw the interval of the AP of the model in use, where it is known."""
    known = [(n, m.low, m.high) for n, m in curve.in_use if m.low is not None and m.high is not None]
    if known:
        labels, low, high = zip(*known, strict=True)
        axes.fill_between(labels, low, high, color=AP, alpha=0.15, linewidth=0)
        axes.vlines(labels, low, high, color=AP, linewidth=1, alpha=0.6)


def _scale(axes: Any, curve: Curve) -> None:
    """Set ticks and limits; AP starts at 0, so that heights compare."""
    from matplotlib.ticker import MaxNLocator

    best = max(max(p.metrics.ap, p.metrics.ap50, p.metrics.high or 0.0) for p in curve.points)
    most = max(1, *(point.labels for point in curve.points))
    axes.set_ylim(0, min(1.02, max(0.1, best * 1.15)))
    axes.set_xlim(-0.03 * most, 1.24 * most)  # space on the right for the names of the lines
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6))
