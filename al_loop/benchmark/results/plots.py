"""Learning curves as SVG, with intervals over the seeds."""

from __future__ import annotations

from io import StringIO
from itertools import pairwise
from typing import Any

from al_loop.benchmark.results.learning_curves import LearningCurves
from al_loop.report.svg import bare_axes, for_page

_INK, _FAINT = "#010101", "#020202"
#: Number of colours: the variables --s0, --s1, ... of the page, repeated after the last.
COLOURS = 8
_MARKERS = "os^Dvp*X"
#: Of the first use of a colour, of the second, and of the third.
_DASHES = ("-", "--", ":")
_TICKS = 8
_SIZE_IN = (7.4, 3.8)


def draw_curves(curves: LearningCurves, start: str, cost: str, name: str) -> str:
    """Return AP over "labels", "boxes" or "minutes" as an element of a page, a line per strategy.

    name: distinguishes its ids from those of other plots.
    """
    import matplotlib
    from matplotlib.figure import Figure

    style = {"svg.fonttype": "none", "svg.hashsalt": name, "font.size": 10.0}
    with matplotlib.rc_context(style):
        figure = Figure(figsize=_SIZE_IN, layout="constrained")
        axes = figure.add_subplot()
        for number, strategy in enumerate(curves.strategies):
            _line(axes, curves, start, strategy, cost, number)
        _label_axes(axes, cost, _ticks(curves, start, cost))
        buffer = StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    variables = {_INK: "var(--muted)", _FAINT: "var(--line)"}
    variables |= {_colour(n): f"var(--s{n})" for n in range(COLOURS)}
    return for_page(buffer.getvalue(), name, variables)


def _line(axes: Any, curves: LearningCurves, start: str, strategy: str, cost: str, number: int) -> None:
    points = curves.points(start, strategy, cost)
    if not points:
        return
    x = [point.cost for point in points]
    y = [point.ap.mean for point in points]
    colour, marker = _colour(number % COLOURS), _MARKERS[number % len(_MARKERS)]
    # Moved apart, so that intervals at the same cost do not overlap.
    moved = [at + (number - len(curves.strategies) / 2) * 0.004 * x[-1] for at in x]
    again = number // COLOURS
    dashes, inside = _DASHES[again % len(_DASHES)], "none" if again else colour
    axes.plot(moved, y, dashes, color=colour, marker=marker, mfc=inside, markersize=5, lw=1.8, label=strategy)
    for at, point in zip(moved, points, strict=True):
        if point.ap.low is not None:
            axes.plot([at, at], [point.ap.low, point.ap.high], color=colour, linewidth=1.2)


def _ticks(curves: LearningCurves, start: str, cost: str) -> list[float]:
    """Return the costs of the points where their numbers have room, else nothing."""
    costs = sorted({p.cost for s in curves.strategies for p in curves.points(start, s, cost)})
    gaps = [b - a for a, b in pairwise(costs)]
    room = not gaps or min(gaps) >= (costs[-1] - costs[0]) / _TICKS / 2
    return costs if len(costs) <= _TICKS and room else []


def _label_axes(axes: Any, cost: str, ticks: list[float]) -> None:
    from matplotlib.ticker import MaxNLocator

    if ticks:
        axes.set_xticks(ticks)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=_TICKS))
    axes.set_xlabel(
        {"labels": "labelled images", "boxes": "labelled boxes", "minutes": "annotator minutes"}[cost]
    )
    axes.set_ylabel("AP on the validation set")
    bare_axes(axes, _INK, _FAINT)
    if axes.get_legend_handles_labels()[0]:  # none where all trials failed
        axes.legend(frameon=False, labelcolor="linecolor", ncols=2)


def _colour(number: int) -> str:
    return f"#0a0b{number:02x}"
