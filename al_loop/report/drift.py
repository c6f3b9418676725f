"""The drift of incoming images over time."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

from al_loop.report.data import MonitorSection
from al_loop.report.svg import AP, FAINT, draw, label_axes

_BAD, _LIMIT = "#060606", "#070707"


def draw_drift(section: MonitorSection, size_in: tuple[float, float], name: str) -> str:
    """Return the effect of every window as an SVG element, with threshold, alarms and changes of the model.

    name: see `draw`.
    """

    def paint(axes: Any) -> None:
        from matplotlib.ticker import MaxNLocator

        windows = section.windows
        top = max(2 * section.min_effect, *(w.effect for w in windows if math.isfinite(w.effect)), 1e-6)
        numbers = [w.number for w in windows]
        effects = [w.effect if math.isfinite(w.effect) else top for w in windows]
        axes.plot(numbers, effects, "-", color=AP, linewidth=1.5)
        colours = [_BAD if w.drifted else AP for w in windows]
        axes.scatter(numbers, effects, 36 if len(windows) <= 60 else 9, colours, zorder=3)
        for window, effect in zip(windows, effects, strict=True):
            if window.alarm:
                place = (window.number, effect)
                axes.annotate(
                    "alarm", place, xytext=(0, 8), textcoords="offset points", ha="center", color=_BAD
                )
        axes.axhline(section.min_effect, color=_LIMIT, linestyle="--", linewidth=1.2)
        for before, after in pairwise(windows):
            if before.model_id != after.model_id:
                axes.axvline(after.number - 0.5, color=FAINT, linewidth=1.5)
        axes.set_ylim(0, 1.2 * top)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
        axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
        label_axes(axes, "window, in order of arrival", "distance, in standard deviations")

    return draw(paint, size_in, name, {_BAD: "var(--bad)", _LIMIT: "var(--wait)"})
