"""A comparison of strategies as tables, sentences and numbers."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from al_loop.benchmark.results.label_efficiency import efficiency_lines, label_efficiency
from al_loop.benchmark.results.learning_curves import LearningCurves, position
from al_loop.benchmark.results.statistics import ONE_SEED, Interval, over_seeds, paired_difference, verdict
from al_loop.benchmark.results.tables import FAILED, aligned, failure_summary, mean_cell

#: Strategies that the others are compared with.
REFERENCES = ("random", "dbal")


def strategy_summary(curves: LearningCurves) -> list[str]:
    """Return the results as lines of text."""
    starts, lines = curves.outcome.spec.starts, list[str]()
    for start in starts:
        lines += ["", f"start: {start}"]
        lines += [f"  {line}" for line in (*aligned(ap_table(curves, start)), *sentences(curves, start))]
    lines += ["", f"annotator minutes: {curves.cost}"]
    if len(curves.seeds) == 1 and not any(_differences(curves, start) for start in starts):
        lines.append(ONE_SEED)
    return [*lines, *failure_summary(curves.rows)]


def sentences(curves: LearningCurves, start: str) -> list[str]:
    """Return each strategy against the references, and the labels for an AP."""
    differences = _differences(curves, start).items()
    lines = ["area, " + verdict(*names, difference) for names, difference in differences]
    return [*lines, *efficiency_lines(curves, start)]


def ap_table(curves: LearningCurves, start: str) -> list[list[str]]:
    """Return AP by strategy and labels, and the area, averaged over seeds. The first row is the header."""
    headings, seeds = curves.headings(start), len(curves.seeds)
    table = [["strategy", *headings.values(), "area"]]
    for strategy in curves.strategies:
        values = {point.position: point.ap for point in curves.points(start, strategy, "labels")}
        areas = list(curves.areas(start, strategy).values())
        means = [*(values.get(at) for at in headings), over_seeds(areas) if areas else None]
        table.append([strategy, *(mean_cell(value, seeds) for value in means)])
    return table


def seed_table(curves: LearningCurves, start: str) -> list[list[str]]:
    """Return the same for each seed."""
    headings = curves.headings(start)
    table = [["strategy", "seed", *headings.values(), "area"]]
    for strategy in curves.strategies:
        areas = curves.areas(start, strategy)
        for seed in curves.seeds:
            values = {position(row): row.ap for row in curves.curve(start, strategy, seed)}
            numbers = [*(values.get(at) for at in headings), areas.get(seed)]
            cells = [FAILED if number is None else f"{number:.3f}" for number in numbers]
            table.append([strategy, str(seed), *cells])
    return table


def strategy_numbers(curves: LearningCurves, start: str) -> dict[str, Any]:
    """Return areas, differences and label efficiency, unrounded."""
    areas = {}
    for strategy in curves.strategies:
        by_seed = curves.areas(start, strategy)
        mean = asdict(over_seeds(list(by_seed.values()))) if by_seed else {}
        areas[strategy] = {"by_seed": by_seed, **mean}
    differences = [
        {"strategy": strategy, "reference": reference, **asdict(difference)}
        for (strategy, reference), difference in _differences(curves, start).items()
    ]
    efficiency = label_efficiency(curves, start)
    return {"areas": areas, "differences": differences, "label_efficiency": efficiency}


def _differences(curves: LearningCurves, start: str) -> dict[tuple[str, str], Interval]:
    """Return (strategy, reference) -> difference in area by seed, each pair once."""
    differences: dict[tuple[str, str], Interval] = {}
    for reference in REFERENCES:
        base = curves.areas(start, reference) if reference in curves.strategies else {}
        for strategy in curves.strategies:
            areas = curves.areas(start, strategy)
            known = strategy == reference or (reference, strategy) in differences
            if not known and areas.keys() & base.keys():
                differences[strategy, reference] = paired_difference(areas, base)
    return differences
