"""The drift of what came in, over time, as SVG."""

from __future__ import annotations

import math
from io import StringIO

from al_loop.report.data import Watch
from al_loop.report.svg import AP, COLOURS, FAINT, INK, bare_axes, for_page

_BAD, _LIMIT = "#060606", "#070707"
_VARIABLES = {**COLOURS, _BAD: "var(--bad)", _LIMIT: "var(--wait)"}


def draw_drift(watch: Watch, width_in: float, height_in: float, name: str) -> str:
    """Return the effect of every window, with the threshold, alarms, and where another model came into use.

    name: what sets its ids apart from another plot's on the same page.
    """
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name, "font.size": 10.0}):
        figure = Figure(figsize=(width_in, height_in), layout="constrained")
        axes = figure.add_subplot()
        numbers = [w.number for w in watch.windows]
        top = max(
            [2 * watch.threshold, *(w.effect for w in watch.windows if math.isfinite(w.effect))], default=1.0
        )
        effects = [w.effect if math.isfinite(w.effect) else top for w in watch.windows]
        axes.plot(numbers, effects, "-", color=AP, linewidth=1.5)
        size = 6 if len(numbers) <= 60 else 3
        for drifted, colour in ((False, AP), (True, _BAD)):
            some = [
                (n, e)
                for n, e, w in zip(numbers, effects, watch.windows, strict=True)
                if w.drifted == drifted
            ]
            axes.plot(
                [n for n, _ in some], [e for _, e in some], "o", color=colour, markersize=size, zorder=3
            )
        for n, effect, window in zip(numbers, effects, watch.windows, strict=True):
            if window.alarm:
                axes.annotate(
                    "alarm", (n, effect), xytext=(0, 8), textcoords="offset points", ha="center", color=_BAD
                )
        axes.axhline(watch.threshold, color=_LIMIT, linestyle="--", linewidth=1.2)
        for before, after in zip(watch.windows, watch.windows[1:], strict=False):
            if before.model_id != after.model_id:
                axes.axvline(after.number - 0.5, color=FAINT, linewidth=1.5)
        axes.set_ylim(0, 1.2 * max(top, 1e-6))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
        axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
        axes.set_xlabel("window, as the images came")
        axes.set_ylabel("distance, in standard deviations")
        bare_axes(axes, INK, FAINT)
        buffer = StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    return for_page(buffer.getvalue(), name, _VARIABLES)
