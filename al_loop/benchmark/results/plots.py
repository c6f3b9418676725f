"""Learning curves with intervals over the seeds."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from al_loop.benchmark.results.learning_curves import LearningCurves
from al_loop.report.svg import draw, label_axes

#: Number of colours: the variables --s0, --s1, ... of the page, repeated after the last.
COLOURS = 8
_MARKERS = "os^Dvp*X"
#: Of the first use of a colour, of the second, and of the third.
_DASHES = ("-", "--", ":")
_TICKS = 8
_COSTS = {"labels": "labelled images", "boxes": "labelled boxes", "minutes": "annotator minutes"}


def draw_curves(curves: LearningCurves, start: str, cost: str, name: str) -> str:
    """Return AP over "labels", "boxes" or "minutes" as an SVG element; name: see `draw`."""

    def paint(axes: Any) -> None:
        from matplotlib.ticker import MaxNLocator

        for number, strategy in enumerate(curves.strategies):
            _line(axes, curves, start, strategy, cost, number)
        if ticks := _ticks(curves, start, cost):
            axes.set_xticks(ticks)
        else:
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=_TICKS))
        label_axes(axes, _COSTS[cost], "AP on the validation set")
        if axes.get_legend_handles_labels()[0]:  # none where all trials failed
            axes.legend(frameon=False, labelcolor="linecolor", ncols=2)

    return draw(paint, (7.4, 3.8), name, PALETTE)


def _line(axes: Any, curves: LearningCurves, start: str, strategy: str, cost: str, number: int) -> None:
    points = curves.points(start, strategy, cost)
    if not points:
        return
    # Shifted, so that intervals at the same cost do not overlap.
    shift = (number - len(curves.strategies) / 2) * 0.004 * points[-1].cost
    x = [point.cost + shift for point in points]
    ink, marker, again = colour(number % COLOURS), _MARKERS[number % len(_MARKERS)], number // COLOURS
    axes.plot(
        x, [point.ap.mean for point in points], _DASHES[again % len(_DASHES)], color=ink, marker=marker,
        mfc="none" if again else ink, markersize=5, lw=1.8, label=strategy,
    )  # fmt: skip
    for at, point in zip(x, points, strict=True):
        if point.ap.low is not None:
            axes.plot([at, at], [point.ap.low, point.ap.high], color=ink, linewidth=1.2)


def _ticks(curves: LearningCurves, start: str, cost: str) -> list[float]:
    """Return the costs of the points if their numbers do not overlap, else nothing."""
    costs = sorted({p.cost for s in curves.strategies for p in curves.points(start, s, cost)})
    gaps = [b - a for a, b in pairwise(costs)]
    fits = not gaps or min(gaps) >= (costs[-1] - costs[0]) / _TICKS / 2
    return costs if len(costs) <= _TICKS and fits else []


def colour(number: int) -> str:
    """Return what stands for a colour of the page."""
    return f"#0a0b{number:02x}"


#: Colours of plots -> variables of the page.
PALETTE = {colour(n): f"var(--s{n})" for n in range(COLOURS)}
