"""Learning curves of several strategies as SVG, with intervals over the seeds."""

from __future__ import annotations

from io import StringIO
from itertools import pairwise
from typing import Any

from al_loop.benchmark.results.summary import Results
from al_loop.report.svg import bare_axes, for_page

_INK, _FAINT = "#010101", "#020202"
#: What stands for a line's colour; the page knows them as --s0, --s1, ... and repeats them after the last.
COLOURS = 8
_MARKERS = "os^Dvp*X"
#: Of the first colours, of those that come again, and again.
_DASHES = ("-", "--", ":")
_TICKS = 8


def draw_curves(results: Results, start: str, cost: str, width_in: float, height_in: float, name: str) -> str:
    """AP over images, boxes or annotator minutes (`cost`), a line per strategy, as an element of a page."""
    import matplotlib
    from matplotlib.figure import Figure

    style = {"svg.fonttype": "none", "svg.hashsalt": name, "font.size": 10.0}
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(width_in, height_in), layout="constrained")
        axes = figure.add_subplot()
        for number, strategy in enumerate(results.outcome.asked.strategies):
            _line(axes, results, start, strategy, cost, number)
        _dress(axes, cost, _places(results, start, cost))
        buffer = StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    variables = {_INK: "var(--muted)", _FAINT: "var(--line)"}
    variables |= {_colour(n): f"var(--s{n})" for n in range(COLOURS)}
    return for_page(buffer.getvalue(), name, variables)


def _line(axes: Any, results: Results, start: str, strategy: str, cost: str, number: int) -> None:
    points = results.points(start, strategy, cost)
    if not points:
        return
    x = [point.cost for point in points]
    y = [point.ap.mean for point in points]
    colour, marker = _colour(number % COLOURS), _MARKERS[number % len(_MARKERS)]
    # Side by side, so that intervals at the same cost can be told apart.
    aside = [at + (number - len(results.outcome.asked.strategies) / 2) * 0.004 * x[-1] for at in x]
    again = number // COLOURS
    dashes, inside = _DASHES[again % len(_DASHES)], "none" if again else colour
    axes.plot(aside, y, dashes, color=colour, marker=marker, mfc=inside, markersize=5, lw=1.8, label=strategy)
    for at, point in zip(aside, points, strict=True):
        if point.ap.low is not None:
            axes.plot([at, at], [point.ap.low, point.ap.high], color=colour, linewidth=1.2)


def _places(results: Results, start: str, cost: str) -> list[float]:
    """The costs of the points, where these are few and stand so far apart that their numbers have room."""
    found = sorted({p.cost for s in results.strategies for p in results.points(start, s, cost)})
    gaps = [b - a for a, b in pairwise(found)]
    room = not gaps or min(gaps) >= (found[-1] - found[0]) / _TICKS / 2
    return found if len(found) <= _TICKS and room else []


def _dress(axes: Any, cost: str, places: list[float]) -> None:
    from matplotlib.ticker import MaxNLocator

    if places:
        axes.set_xticks(places)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=_TICKS))
    axes.set_xlabel(
        {"labels": "labelled images", "boxes": "labelled boxes", "minutes": "annotator minutes"}[cost]
    )
    axes.set_ylabel("AP on the validation set")
    bare_axes(axes, _INK, _FAINT)
    if axes.get_legend_handles_labels()[0]:  # none where all is holes
        axes.legend(frameon=False, labelcolor="linecolor", ncols=2)


def _colour(number: int) -> str:
    return f"#0a0b{number:02x}"
