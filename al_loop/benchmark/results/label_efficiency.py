"""How many labels each strategy needs for an AP, absolutely and relative to `random`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from al_loop.benchmark.results.learning_curves import LearningCurves
from al_loop.benchmark.results.statistics import Interval, cost_to_reach, paired_difference

BASELINE = "random"


@dataclass(frozen=True)
class LabelsNeeded:
    """The labels with which one strategy first reaches the target.

    labels: of its mean curve; None where it never does.
    at_most: the first point is above the target already, so that `labels` is an upper bound.
    by_seed: of each seed whose own curve reaches it.
    seeds_at_most: that is an upper bound for some seed.
    failed: the mean curve ends early, at failed trials.
    last: labels at its last point.
    """

    strategy: str
    labels: float | None
    at_most: bool
    by_seed: Mapping[int, float]
    seeds_at_most: bool
    failed: bool
    last: float


@dataclass(frozen=True)
class LabelEfficiency:
    """Labels for one AP.

    target: the AP.
    given: whether the user named it; else it is the last AP of `random`.
    seeds: how many there are.
    """

    target: float
    given: bool
    seeds: int
    strategies: tuple[LabelsNeeded, ...]

    def ratio(self, needed: LabelsNeeded) -> float | None:
        """Return the labels relative to random's; None where one of both is unknown or zero."""
        baseline = self._baseline()
        if needed.labels is None or baseline is None or not baseline.labels:
            return None
        return None if needed.at_most or baseline.at_most else needed.labels / baseline.labels

    def difference(self, needed: LabelsNeeded) -> Interval | None:
        """Return the labels minus random's, paired by seed; None unless all seeds of both reach the target.

        A mean over those that do would be biased towards them.
        """
        baseline = self._baseline()
        if baseline is None or baseline is needed or needed.seeds_at_most or baseline.seeds_at_most:
            return None
        if self.seeds < 2 or not len(needed.by_seed) == len(baseline.by_seed) == self.seeds:
            return None
        return paired_difference(needed.by_seed, baseline.by_seed)

    def _baseline(self) -> LabelsNeeded | None:
        return next((needed for needed in self.strategies if needed.strategy == BASELINE), None)


def label_efficiency(curves: LearningCurves, start: str) -> LabelEfficiency | None:
    """Return the labels for the target AP; None where none was given and `random` has no last AP."""
    target = curves.target
    if target is None:
        if not curves.final_rows(start, BASELINE) or len(curves.positions(start)) < 2:
            return None
        target = curves.points(start, BASELINE, "labels")[-1].ap.mean
    needed = tuple(_labels_needed(curves, start, strategy, target) for strategy in curves.strategies)
    return LabelEfficiency(target, curves.target is not None, len(curves.seeds), needed)


def efficiency_lines(curves: LearningCurves, start: str) -> list[str]:
    """Return the labels for the target as text, a line for each strategy after a first one."""
    efficiency = label_efficiency(curves, start)
    if efficiency is None:
        if BASELINE in curves.strategies and not curves.final_rows(start, BASELINE):
            return [f"labels for an AP: all trials of {BASELINE} failed. Name an AP: --target 0.3 --resume"]
        return []
    last = "" if efficiency.given else f", the last of {BASELINE}"
    lines = [f"labels for AP {efficiency.target:.3f}{last}:"]
    return lines + [f"  {needed.strategy}: {_text(efficiency, needed)}" for needed in efficiency.strategies]


def efficiency_numbers(efficiency: LabelEfficiency | None) -> dict[str, Any] | None:
    """Return the same as plain data."""
    if efficiency is None:
        return None
    strategies = {}
    for needed in efficiency.strategies:
        difference = efficiency.difference(needed)
        strategies[needed.strategy] = {
            "labels": needed.labels,
            "at_most": needed.at_most,
            "failed": needed.failed,
            "relative_to_random": efficiency.ratio(needed),
            "by_seed": {str(seed): labels for seed, labels in needed.by_seed.items()},
            "minus_random": None if difference is None else asdict(difference),
        }
    return {"ap": efficiency.target, "given": efficiency.given, "strategies": strategies}


def _labels_needed(curves: LearningCurves, start: str, strategy: str, target: float) -> LabelsNeeded:
    points = curves.points(start, strategy, "labels")
    labels, at_most = _first([p.cost for p in points], [p.ap.mean for p in points], target)
    by_seed, seeds_at_most = {}, False
    for seed in curves.seeds:
        rows = curves.curve(start, strategy, seed)
        seed_labels, bound = _first([float(r.labels) for r in rows], [r.ap for r in rows], target)
        if seed_labels is not None:
            by_seed[seed], seeds_at_most = seed_labels, seeds_at_most or bound
    failed = [p.position for p in points[-1:]] != curves.positions(start)[-1:]
    last = points[-1].cost if points else 0.0
    return LabelsNeeded(strategy, labels, at_most, by_seed, seeds_at_most, failed, last)


def _first(costs: list[float], values: list[float], target: float) -> tuple[float | None, bool]:
    """Return where a curve first reaches the target, and whether that is at most, at its first point."""
    cost = cost_to_reach(costs, values, target)
    return cost, cost is not None and 0 < cost == costs[0] and values[0] >= target


def _text(efficiency: LabelEfficiency, needed: LabelsNeeded) -> str:
    ratio, difference = efficiency.ratio(needed), efficiency.difference(needed)
    if needed.labels is not None:
        text = f"{needed.labels:.0f}" + (" or fewer" if needed.at_most else "")
    else:
        text = "failed" if needed.failed else f"not reached with {needed.last:.0f}"
    if ratio is not None and needed.strategy != BASELINE:
        text += f", {ratio:.2f} of random's"
    if difference is not None:
        text += (
            f"; by seed {difference.mean:+.0f} labels "
            f"(95 % interval {difference.low:+.0f} to {difference.high:+.0f}, {difference.seeds} seeds)"
        )
    elif efficiency.seeds > 1:
        text += f"; {len(needed.by_seed)} of {efficiency.seeds} seeds reach it"
    return text
