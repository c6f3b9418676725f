"""What is written about strategies, of curves made by hand."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from support.benchmark_specs import metrics_of
from support.factories import CLASSES

from al_loop.benchmark.results.label_efficiency import efficiency_lines
from al_loop.benchmark.results.labelling_cost import LabellingCost
from al_loop.benchmark.results.learning_curves import LearningCurves
from al_loop.benchmark.results.plots import COLOURS, draw_curves
from al_loop.benchmark.results.report import report_of, write_report
from al_loop.benchmark.results.strategy_tables import ap_table, seed_table, strategy_summary
from al_loop.benchmark.run.cycle_run import CycleRun
from al_loop.benchmark.run.runner import Outcome
from al_loop.benchmark.run.trial import Row
from al_loop.benchmark.spec.datasets import Datasets
from al_loop.benchmark.spec.spec import BenchmarkSpec, StrategyGrid
from strategies import STRATEGIES

#: A curve: AP of every cycle; None for the failed training that ends it.
Curve = Sequence[float | None]


def results(
    curves: Mapping[str, Sequence[Curve]],
    target: float | None = None,
    labels: Mapping[str, Sequence[int]] | None = None,
) -> LearningCurves:
    """Results of a start `m`, by strategy and seed; labels: by strategy, default 25 a cycle."""
    seeds = max(map(len, curves.values()))
    cycles = max(len(curve) for group in curves.values() for curve in group)
    grid = StrategyGrid(strategies=tuple(curves), k=25, cycles=cycles)
    spec = BenchmarkSpec(
        pool=Path(), validation=Path(), tests={}, starts={"m": "m"}, seeds=seeds, iterations=1, grid=grid
    )
    rows = [row for name, group in curves.items() for row in _rows(name, group, (labels or {}).get(name))]
    outcome = Outcome(spec, CLASSES, Datasets([], [], {}, []), [], rows)
    return LearningCurves(outcome, grid, LabellingCost(), target)


def _rows(strategy: str, curves: Sequence[Curve], labels: Sequence[int] | None) -> Iterator[Row[CycleRun]]:
    for seed, curve in enumerate(curves):
        for cycle, value in enumerate(curve, start=1):
            run = CycleRun("m", strategy, seed, cycle, 25)
            if value is None:
                yield Row(run, failure="the loss is nan")
                break
            count = labels[cycle - 1] if labels else 25 * cycle
            yield Row(run, count, metrics={"validation": metrics_of(value)})


def lines_of(curves: LearningCurves) -> list[str]:
    return efficiency_lines(curves, "m")


def test_the_same_curve_needs_the_same_labels() -> None:
    """Random is at its last AP, 0.30, between 50 (0.27) and 75 (0.31): at 50 + 25 * 3/4 = 68.75."""
    curve = [(0.20, 0.27, 0.31, 0.30)]
    lines = lines_of(results({"random": curve, "dbal": curve}))
    assert lines == [
        "labels for AP 0.300, the last of random:",
        "  random: 69",
        "  dbal: 69, 1.00 of random's",
    ]


def test_labels_for_an_ap_that_was_named() -> None:
    curves = {"random": [(0.1, 0.2, 0.3)], "dbal": [(0.2, 0.4, 0.5)], "margin": [(0.1, 0.1, 0.15)]}
    assert lines_of(results(curves, 0.2)) == [
        "labels for AP 0.200:",
        "  random: 50",
        "  dbal: 25 or fewer",  # and no ratio: how many fewer is not known
        "  margin: not reached with 75",
    ]
    assert lines_of(results({"dbal": curves["dbal"]}, 0.3)) == ["labels for AP 0.300:", "  dbal: 38"]
    assert lines_of(results({"dbal": curves["dbal"]})) == []


def test_an_interval_only_where_seed_table_gets_there() -> None:
    curves = {
        "random": [(0.1, 0.2, 0.3), (0.0, 0.2, 0.4), (0.1, 0.2, 0.3)],
        "dbal": [(0.1, 0.3, 0.3), (0.1, 0.3, 0.4), (0.1, 0.3, 0.35)],
    }
    lines = lines_of(results(curves, 0.2))
    assert lines[2].startswith(
        "  dbal: 38, 0.75 of random's; by seed -12 labels (95 % interval -12 to -12, 3 seeds)"
    )
    lines = lines_of(results(curves, 0.32))
    assert lines[1:] == [
        "  random: 72; 1 of 3 seeds reach it",
        "  dbal: 60, 0.83 of random's; 2 of 3 seeds reach it",
    ]


def test_a_failed_trial_leaves_the_other_seeds() -> None:
    whole = (0.1, 0.2, 0.3)
    curves = results({"random": [whole] * 5, "dbal": [whole, (0.1, None), whole, whole, whole]})
    head, random, dbal = ap_table(curves, "m")
    assert head == ["strategy", "25 labels", "50 labels", "75 labels", "area"]
    assert random[2] == "0.200 ± 0.000"
    assert dbal[1:] == [
        "0.100 ± 0.000",
        *(f"{ap} ± 0.000 (4 of 5 seeds)" for ap in ("0.200", "0.300", "0.200")),
    ]
    assert seed_table(curves, "m")[7] == ["dbal", "1", "0.100", "failed", "failed", "failed"]
    assert lines_of(curves)[2] == "  dbal: 75, 1.00 of random's; 4 of 5 seeds reach it"


def test_a_failed_trial_is_not_called_not_reached() -> None:
    curves = results({"random": [(0.1, 0.2, 0.3)], "dbal": [(0.1, None)], "margin": [(None,)]})
    assert lines_of(curves)[2:] == ["  dbal: failed", "  margin: failed"]
    assert ap_table(curves, "m")[3] == ["margin", "failed", "failed", "failed", "failed"]
    # Random fails at one of two seeds, and still has a last AP.
    curves = results({"random": [(0.1, 0.2, 0.3), (None,)], "dbal": [(0.1, 0.4, 0.5), (0.1, 0.4, 0.5)]})
    assert lines_of(curves)[0] == "labels for AP 0.300, the last of random:"
    # At all seeds: it has none.
    curves = results({"random": [(0.1, None)], "dbal": [(0.1, 0.4, 0.5)]})
    assert lines_of(curves) == [
        "labels for an AP: all trials of random failed. Name an AP: --target 0.3 --resume"
    ]
    assert any("--target" in line for line in strategy_summary(curves))


def test_curves_of_different_labels_share_a_range() -> None:
    """U with L: random had 7 labels when dbal had 6. Areas are from 3 to 9, where both have points."""
    curves = results(
        {"random": [(0.0, 0.4, 0.8)], "dbal": [(0.0, 0.3, 0.6)]},
        labels={"random": (3, 7, 11), "dbal": (3, 6, 9)},
    )
    assert ap_table(curves, "m")[0] == [
        "strategy",
        "3 labels",
        "cycle 2, 6–7 labels",
        "cycle 3, 9–11 labels",
        "area",
    ]
    # Both rise by 0.1 a label: the same curve, the same area.
    assert curves.areas("m", "random")[0] == pytest.approx(0.3)
    assert curves.areas("m", "dbal")[0] == pytest.approx(0.3)


def test_one_seed_of_one_strategy_says_so_too() -> None:
    assert "one seed, which says nothing about chance" in "\n".join(
        strategy_summary(results({"dbal": [(0.1, 0.2)]}))
    )
    assert not [line for line in strategy_summary(results({"dbal": [(0.1, 0.2)] * 2})) if "one seed" in line]
    # Where a difference says it, it is not repeated.
    both = strategy_summary(results({"dbal": [(0.1, 0.2)], "random": [(0.1, 0.2)]}))
    assert len([line for line in both if "one seed" in line]) == 1


@pytest.mark.integration
def test_numbers_beside_the_text(tmp_path: Path) -> None:
    curves = {
        "random": [(0.1, 0.2, 0.3)] * 2,
        "dbal": [(0.1, 0.4, 0.4), (0.1, 0.3, 0.3)],
        "margin": [(0.1, None)],
    }
    report = report_of(results(curves).outcome, LabellingCost())
    table, plain, _ = write_report(report, tmp_path)
    numbers = json.loads(plain.read_text())["starts"]["m"]
    assert numbers["areas"]["random"]["by_seed"] == {"0": pytest.approx(0.2), "1": pytest.approx(0.2)}
    assert numbers["areas"]["dbal"]["mean"] == pytest.approx((0.325 + 0.25) / 2)
    assert numbers["areas"]["margin"] == {"by_seed": {}}
    (difference,) = numbers["differences"]
    assert (difference["strategy"], difference["reference"]) == ("dbal", "random")
    assert difference["mean"] == pytest.approx((0.125 + 0.05) / 2)
    assert difference["low"] < difference["mean"] < difference["high"]
    assert numbers["label_efficiency"]["ap"] == pytest.approx(0.3)
    dbal = numbers["label_efficiency"]["strategies"]["dbal"]
    assert dbal["labels"] == pytest.approx(45)  # the mean is 0.1 at 25 and 0.35 at 50
    assert dbal["relative_to_random"] == pytest.approx(45 / 75)
    assert dbal["by_seed"] == {"0": pytest.approx(25 + 25 * 2 / 3), "1": pytest.approx(50)}
    assert dbal["minus_random"]["seeds"] == 2
    with table.open() as file:
        rows = [row for row in csv.DictReader(file) if row["failure"]]
    assert [(row["strategy"], row["cycle"], row["labels"], row["boxes"], row["minutes"]) for row in rows] == [
        ("margin", "2", "", "", "")
    ]


def test_a_benchmark_that_failed_is_drawn_and_says_what_to_do(tmp_path: Path) -> None:
    curves = results({"random": [(None,)], "dbal": [(None,)]})
    report = report_of(curves.outcome, LabellingCost())
    page = write_report(report, tmp_path)[2].read_text()
    assert page.count("<svg") == 3
    assert "another --out" in page
    assert "another --out" in strategy_summary(curves)[-1]


@pytest.mark.integration
def test_numbers_below_a_curve_have_room() -> None:
    """The points where all strategies share a few; else round numbers, which do not overlap."""

    def below(curves: LearningCurves) -> list[float]:
        svg = draw_curves(curves, "m", "labels", "x")
        return [float(text) for text in re.findall(r"text-anchor: middle[^>]*>([0-9.]+)<", svg)]

    shared = results({"random": [(0.1, 0.2, 0.3)], "dbal": [(0.1, 0.2, 0.3)]})
    assert below(shared) == [25, 50, 75]
    differing = {"random": [25, 50, 75], "dbal": [26, 51, 77]}
    numbers = below(results({"random": [(0.1, 0.2, 0.3)], "dbal": [(0.1, 0.2, 0.3)]}, labels=differing))
    assert len(numbers) >= 4
    assert len({b - a for a, b in pairwise(numbers)}) == 1


def test_lines_whose_colour_comes_again_are_dashed() -> None:
    """In the legend and in the drawing no two of nine and more strategies look the same."""
    some = list(STRATEGIES)[: COLOURS + 2]
    svg = draw_curves(results({name: [(0.1, 0.2)] for name in some}), "m", "labels", "x")
    looks = Counter(
        (re.findall(r"var\(--s\d\)", path)[0], "stroke-dasharray" in path)
        for path in re.findall(r"<path [^>]*var\(--s\d\)[^>]*>", svg)
        if "fill: none" in path
    )
    assert len(looks) == COLOURS + 2
    assert sum(dashed for _, dashed in looks) == 2
