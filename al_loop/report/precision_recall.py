"""Precision over recall of each class as plots."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from al_loop.evaluation.precision_recall import ClassCurves, PrecisionRecall
from al_loop.report.svg import AP, draw, label_axes

_OTHER = "#060606"
_SIZE_IN = (2.5, 2.1)
#: Most classes of a set that are drawn: each takes about ten kilobytes.
MOST = 24


@dataclass(frozen=True)
class ClassPlot:
    """The plot of a class. truth: number of true objects."""

    name: str
    truth: int
    svg: str


@dataclass(frozen=True)
class SetPlots:
    """The plots of a set: of masks, or of boxes. left_out: classes without a plot, because there are many."""

    masks: bool
    plots: tuple[ClassPlot, ...]
    left_out: tuple[str, ...]


def set_plots(models: Mapping[str, ClassCurves], key: str) -> SetPlots:
    """Return the plots of one or two models on a set, the classes with the most objects first.

    key: prefix of ids, different for each set of a page.
    The second model is dashed.
    """
    first = next(iter(models.values()))
    ranked = sorted(first.curves, key=lambda name: -first.curves[name].truth)
    plots = [
        ClassPlot(
            name,
            first.curves[name].truth,
            _draw({model: found.curves[name] for model, found in models.items()}, f"{key}-{number}"),
        )
        for number, name in enumerate(ranked[:MOST])
    ]
    return SetPlots(first.masks, tuple(plots), tuple(ranked[MOST:]))


def _draw(curves: Mapping[str, PrecisionRecall], key: str) -> str:
    def paint(axes: Any) -> None:
        for curve, (colour, dash) in zip(curves.values(), ((AP, "-"), (_OTHER, "--")), strict=False):
            recall, precision = outline(curve)
            axes.plot(recall, precision, dash, color=colour, linewidth=1.6, drawstyle="steps-pre")
            if curve.at_score is not None:
                axes.plot(*curve.at_score, "o", color=colour, markersize=4.5)
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(0, 1.05)
        axes.set_xticks((0, 0.5, 1))
        axes.set_yticks((0, 0.5, 1))
        label_axes(axes, "recall", "precision")

    return draw(paint, _SIZE_IN, key, {_OTHER: "var(--ap50)"}, font_pt=9.0)


def outline(curve: PrecisionRecall) -> tuple[list[float], list[float]]:
    """Return the corners of a curve as COCO averages it: the largest precision at each or a higher recall.

    The precision of a step is that of its right end. After the last step it is 0.
    """
    if not curve.recall:
        return [0.0, 1.0], [0.0, 0.0]
    recall = list(curve.recall)
    precision = list(accumulate(reversed(curve.precision), max))[::-1]
    return [0.0, *recall, recall[-1], 1.0], [precision[0], *precision, 0.0, 0.0]
