"""Draws the figure of `render stats`: one PNG with every measure, rendered beside real."""

from __future__ import annotations

import io
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

from render.inspect.measures import MEANING, Array, Measures, Report

_RENDERED, _REAL = "#2f6db5", "#e07b1a"
_LOGARITHMIC = ("size", "aspect", "sharpness")
_STYLE = {"font.size": 9, "axes.titlesize": 10, "axes.spines.top": False, "axes.spines.right": False}
#: Classes shown in the figure; the table has all classes.
_CLASSES_SHOWN = 12


def draw_report(report: Report) -> bytes:
    """Return the figure as PNG bytes."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(15, 10), dpi=100, layout="constrained")
        axes = figure.subplots(3, 4)
        for axis, name in zip(axes[0, :3], ("size", "aspect", "boxes per image"), strict=True):
            _histogram(axis, name, report)
        for axis, name in zip(axes[2], ("brightness", "contrast", "sharpness", "saturation"), strict=True):
            _histogram(axis, name, report)
        _shares(axes[0, 3], report)
        _heat(axes[1, 0], report.rendered, "rendered" if report.real is not None else "")
        if report.real is None:
            axes[1, 1].set_axis_off()
            axes[1, 3].set_axis_off()
        else:
            _heat(axes[1, 1], report.real, "real")
            _gaps(axes[1, 3], report)
        _sizes(axes[1, 2], report)
        figure.suptitle(_title(report))
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _title(report: Report) -> str:
    def counted(m: Measures) -> str:
        return f"{m.name} ({m.pictures} images, {m.boxes} boxes)"

    if report.real is None:
        return counted(report.rendered)
    return f"rendered: {counted(report.rendered)}   ·   real: {counted(report.real)}"


def _pairs(report: Report) -> list[tuple[Measures, str, str]]:
    pairs = [(report.rendered, _RENDERED, "rendered")]
    return pairs if report.real is None else [*pairs, (report.real, _REAL, "real")]


def _histogram(axis: Any, name: str, report: Report) -> None:
    curves = [(m.values[name], c, label) for m, c, label in _pairs(report) if name in m.values]
    axis.set_title(name)
    axis.set_yticks([])
    if not curves:
        axis.text(0.5, 0.5, "no image could be read", ha="center", transform=axis.transAxes)
        return
    bins = _bins(name, np.concatenate([values for values, _, _ in curves]))
    for values, colour, label in curves:
        # Show shares instead of counts, so that sets of different size can be compared.
        weights = np.full(len(values), 1 / len(values))
        axis.hist(values, bins, weights=weights, histtype="stepfilled", color=colour, alpha=0.25)
        axis.hist(values, bins, weights=weights, histtype="step", color=colour, lw=1.5, label=label)
        axis.axvline(float(np.median(values)), color=colour, lw=1, ls="--")
    if name in _LOGARITHMIC:
        axis.set_xscale("log")
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=6))
        axis.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.xaxis.set_minor_locator(NullLocator())
    axis.set_xlabel(MEANING[name][0])
    if len(curves) > 1 and name == "size":
        axis.legend(frameon=False)


def _bins(name: str, values: Array) -> Array:
    low, high = float(values.min()), float(values.max())
    if name == "boxes per image":
        step = max(1, round((high - low) / 25))
        return np.arange(low - 0.5, high + step + 0.5, step)
    if name in _LOGARITHMIC:
        low, high = max(low, 1e-6), max(high, 1e-6)
        return np.geomspace(low / 1.001, high * 1.001, 31)
    margin = 0.001 + 0.02 * (high - low)
    return np.linspace(low - margin, high + margin, 31)


def _shares(axis: Any, report: Report) -> None:
    pairs = _pairs(report)
    names = _most_common(pairs)
    height = 0.8 / len(pairs)
    for number, (m, colour, _) in enumerate(pairs):
        places = np.arange(len(names)) + (number - (len(pairs) - 1) / 2) * height
        axis.barh(places, [m.shares.get(name, 0.0) for name in names], height * 0.9, color=colour, alpha=0.8)
    _name_rows(axis, names, "class shares")


def _most_common(pairs: list[tuple[Measures, str, str]]) -> list[str]:
    """Return the classes in the order of their larger share in either set."""
    names = {name for m, _, _ in pairs for name in m.shares}
    share = {name: max(m.shares.get(name, 0.0) for m, _, _ in pairs) for name in names}
    return sorted(names, key=lambda name: (-share[name], name))[:_CLASSES_SHOWN]


def _sizes(axis: Any, report: Report) -> None:
    """Draw the median and the middle half of the box sizes, class by class."""
    pairs = _pairs(report)
    names = _most_common(pairs)
    for number, (m, colour, _) in enumerate(pairs):
        for row, name in enumerate(names):
            if name in m.size_by_category:
                low, middle, high = np.quantile(m.size_by_category[name], (0.25, 0.5, 0.75))
                y = row + (number - (len(pairs) - 1) / 2) * 0.3
                axis.plot([low, high], [y, y], color=colour, lw=4, alpha=0.4, solid_capstyle="butt")
                axis.plot([middle], [y], "o", color=colour, ms=4)
    _name_rows(axis, names, "size by class, middle half")


def _heat(axis: Any, measures: Measures, label: str) -> None:
    axis.imshow(measures.position, cmap="magma", vmin=0, interpolation="nearest")
    axis.set_xticks([])
    axis.set_yticks([])
    axis.set_title(f"where boxes lie{': ' if label else ''}{label}")


def _gaps(axis: Any, report: Report) -> None:
    """Draw the distances, the largest on top; those within chance are grey."""
    rows = range(len(report.gaps))
    colours = ["#b03a3a" if gap.real else "#bbbbbb" for gap in report.gaps]
    axis.barh(rows, [gap.distance for gap in report.gaps], color=colours)
    axis.set_xlim(0, 1)
    _name_rows(axis, [gap.measure for gap in report.gaps], "distance (grey: within chance)")


def _name_rows(axis: Any, names: list[str], title: str) -> None:
    axis.set_yticks(range(len(names)), names)
    axis.invert_yaxis()
    axis.set_title(title)
