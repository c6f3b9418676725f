"""Plots of a transfer study: AP over the steps of a training, and AP of the final models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from al_loop.benchmark.results.plots import PALETTE, colour
from al_loop.benchmark.results.statistics import Interval
from al_loop.report.svg import draw, label_axes


@dataclass(frozen=True)
class Series:
    """One cell of the study.

    colour: number of a colour of the page.
    dashed, hollow: style of line and marker.
    points: step and mean AP of each validation.
    ap: of the final models.
    """

    label: str
    colour: int
    dashed: bool
    hollow: bool
    points: Sequence[tuple[float, float]]
    ap: Interval

    @property
    def marker(self) -> dict[str, Any]:
        """Options of Matplotlib for the markers."""
        ink = colour(self.colour)
        return {"color": ink, "marker": "o", "mfc": "none" if self.hollow else ink, "markersize": 4}


def draw_validations(series: Sequence[Series], name: str) -> str:
    """Return AP over steps as an SVG element. name: see `draw`."""

    def paint(axes: Any) -> None:
        for one in series:
            x, y = zip(*one.points, strict=True)
            axes.plot(x, y, "--" if one.dashed else "-", lw=1.4, label=one.label, **one.marker)
        label_axes(axes, "steps on photographs", "AP on the validation set")
        legend = {"loc": "outside lower center", "ncols": 2, "frameon": False, "fontsize": "small"}
        axes.figure.legend(labelcolor="linecolor", **legend)

    return draw(paint, (7.4, 5.2), name, PALETTE)


def draw_intervals(series: Sequence[Series], name: str) -> str:
    """Return the final AP with intervals over the seeds as an SVG element, a line for each cell."""

    def paint(axes: Any) -> None:
        for place, one in enumerate(series):
            if one.ap.low is not None:
                axes.plot([one.ap.low, one.ap.high], [place, place], color=colour(one.colour), lw=1.4)
            axes.plot([one.ap.mean], [place], **one.marker)
        axes.set_yticks(range(len(series)), [one.label for one in series])
        axes.invert_yaxis()
        label_axes(axes, "AP on the validation set", "")

    return draw(paint, (7.4, 0.9 + 0.3 * len(series)), name, PALETTE)
