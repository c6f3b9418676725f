"""Plots of precision over recall."""

from __future__ import annotations

import re

import pytest

from al_loop.evaluation.precision_recall import ClassCurves, PrecisionRecall
from al_loop.report import precision_recall
from al_loop.report.precision_recall import outline, set_plots


def test_a_curve_is_drawn_as_coco_averages_it() -> None:
    """Precision 0.5 at recall 0.25 rises to 0.6 at 0.75: the second counts up to there."""
    curve = PrecisionRecall((0.25, 0.75, 1.0), (0.5, 0.6, 0.4), 4, None)
    recall, precision = outline(curve)
    assert recall == [0.0, 0.25, 0.75, 1.0, 1.0, 1.0]
    assert precision == [0.6, 0.6, 0.6, 0.4, 0.0, 0.0]
    area = sum((b - a) * p for a, b, p in zip(recall, recall[1:], precision[1:], strict=False))
    assert area == pytest.approx(0.75 * 0.6 + 0.25 * 0.4)
    assert outline(PrecisionRecall((), (), 4, None)) == ([0.0, 1.0], [0.0, 0.0])


def test_many_classes_are_drawn_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision_recall, "MOST", 2)
    curves = {f"c{n}": PrecisionRecall((0.5,), (1.0,), n + 1, (0.5, 1.0)) for n in range(4)}
    found = set_plots({"m0": ClassCurves(masks=False, curves=curves)}, "key")
    assert [(plot.name, plot.truth) for plot in found.plots] == [("c3", 4), ("c2", 3)]
    assert found.left_out == ("c1", "c0")
    ids = [name for plot in found.plots for name in re.findall(r' id="([^"]+)"', plot.svg)]
    assert len(ids) == len(set(ids)) > 0
