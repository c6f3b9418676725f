"""Content of the page of a comparison of strategies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from al_loop.benchmark.results.learning_curves import LearningCurves
from al_loop.benchmark.results.plots import draw_curves
from al_loop.benchmark.results.strategy_tables import ap_table, seed_table, sentences
from al_loop.benchmark.results.tables import FAILED, METRIC_HEADINGS, metric_cells
from al_loop.report.pictures import thumbnail

_COSTS = ("labels", "boxes", "minutes")
#: Pictures of a strategy's first picks.
_PICTURES = 8


def strategy_content(curves: LearningCurves) -> dict[str, Any]:
    """Return what the template strategies.html shows."""
    starts = curves.outcome.spec.starts
    return {
        "grid": curves.grid,
        "classes": curves.outcome.classes,
        "cost": curves.cost,
        "sections": [_section(curves, start, number) for number, start in enumerate(starts)],
    }


def _section(curves: LearningCurves, start: str, number: int) -> dict[str, Any]:
    """Return the results of one initial model."""
    names = curves.outcome.datasets.evaluated
    return {
        "start": start,
        "curves": {cost: draw_curves(curves, start, cost, f"c{number}{cost}") for cost in _COSTS},
        "table": ap_table(curves, start),
        "seeds": seed_table(curves, start),
        "sentences": [line.strip() for line in sentences(curves, start)],
        "picks": [_picks(curves, start, strategy) for strategy in curves.strategies],
        "per_class": _per_class(curves, start),
        "sets": {name: _final_metrics(curves, start, name) for name in names},
        "at_random": any(row.at_random for row in curves.rows if row.run.start == start),
    }


def _picks(curves: LearningCurves, start: str, strategy: str) -> dict[str, Any]:
    """Return statistics of the own picks of a strategy, over all seeds and cycles.

    shares: of each class among the boxes.
    overlap: with the picks of each strategy for the same seed, in [0, 1].
    pictures: of its first picks of seed 0.
    """
    pool = {item.image.id: item for item in curves.outcome.datasets.pool}
    picked = {seed: curves.picked(start, strategy, seed) for seed in curves.seeds}
    boxes = [pool[image].boxes.labels for images in picked.values() for image in images]
    labels = np.concatenate(boxes) if boxes else np.zeros(0, np.int64)
    counts = np.bincount(labels, minlength=len(curves.outcome.classes))
    overlap = [
        float(np.mean([_overlap(picked[seed], curves.picked(start, other, seed)) for seed in picked]))
        for other in curves.strategies
    ]
    picks = (row.picked for row in curves.curve(start, strategy, 0) if row.picked and not row.at_random)
    pictures = [thumbnail(pool[image].image.path) for image in next(picks, ())[:_PICTURES]]
    return {
        "strategy": strategy,
        "boxes_per_image": len(labels) / max(1, len(boxes)),
        "shares": (counts / max(1, counts.sum())).tolist(),
        "overlap": overlap,
        "pictures": [picture for picture in pictures if picture],
    }


def _overlap(a: Sequence[str], b: Sequence[str]) -> float:
    """Return the share of the picks that both have."""
    return len(set(a) & set(b)) / max(1, min(len(set(a)), len(set(b))))


def _per_class(curves: LearningCurves, start: str) -> list[list[str]]:
    """Return final AP of each class, averaged over completed seeds. The first row is the header."""
    table = [["strategy", *curves.outcome.classes]]
    for strategy in curves.strategies:
        rows = curves.final_rows(start, strategy)
        cells = []
        for name in curves.outcome.classes:
            values = [row.metrics["validation"]["per_class"][name] for row in rows if row.metrics]
            known = [value for value in values if value is not None]
            cells.append(f"{np.mean(known):.3f}" if known else "–" if rows else FAILED)
        table.append([strategy, *cells])
    return table


def _final_metrics(curves: LearningCurves, start: str, name: str) -> list[list[str]]:
    """Return final-model metrics on one set, averaged over completed seeds. The first row is the header."""
    rows = {strategy: curves.final_rows(start, strategy) for strategy in curves.strategies}
    cells = [[strategy, *metric_cells(rows[strategy], name, len(curves.seeds))] for strategy in rows]
    return [["strategy", *METRIC_HEADINGS], *cells]
