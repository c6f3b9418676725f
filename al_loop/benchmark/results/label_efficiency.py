"""How many labels each strategy needs for an AP, absolutely and relative to `random`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from al_loop.benchmark.results.learning_curves import LearningCurves
from al_loop.benchmark.results.statistics import Interval, cost_to_reach, paired_difference

BASELINE = "random"


@dataclass(frozen=True)
class LabelsNeeded:
    """The labels with which one strategy first reaches the target.

    labels: of its mean curve; None if it never does.
    at_most: the first point is above the target already, so `labels` is an upper bound.
    failed: the mean curve ends early, at failed trials.
    last: labels at its last point.
    by_seed: of each seed whose own curve reaches the target.
    seeds_at_most: that is an upper bound for some seed.
    relative_to_random: ratio of the labels; None if one of both is unknown or zero.
    minus_random: difference of the labels, paired by seed; None unless all seeds of both reach the target,
        since a mean over those that do would be biased towards them.
    """

    labels: float | None
    at_most: bool
    failed: bool
    last: float
    by_seed: Mapping[int, float]
    seeds_at_most: bool
    relative_to_random: float | None = None
    minus_random: Interval | None = None


@dataclass(frozen=True)
class LabelEfficiency:
    """Labels for the target `ap`. given: whether the user named it; else it is the last AP of `random`."""

    ap: float
    given: bool
    strategies: Mapping[str, LabelsNeeded]


def label_efficiency(curves: LearningCurves, start: str) -> LabelEfficiency | None:
    """Return the labels for the target AP; None if none was given and `random` has no last AP."""
    target = curves.target
    if target is None:
        if not curves.final_rows(start, BASELINE) or len(curves.positions(start)) < 2:
            return None
        target = curves.points(start, BASELINE, "labels")[-1].ap.mean
    needed = {strategy: _labels_needed(curves, start, strategy, target) for strategy in curves.strategies}
    if BASELINE in needed:
        seeds, random = len(curves.seeds), needed[BASELINE]
        needed = {strategy: _compared(one, random, seeds) for strategy, one in needed.items()}
    return LabelEfficiency(target, curves.target is not None, needed)


def efficiency_lines(curves: LearningCurves, start: str) -> list[str]:
    """Return the labels for the target as text, a line for each strategy after a first one."""
    found = label_efficiency(curves, start)
    if found is None:
        if BASELINE in curves.strategies and not curves.final_rows(start, BASELINE):
            return [f"labels for an AP: all trials of {BASELINE} failed. Name an AP: --target 0.3 --resume"]
        return []
    last, seeds = "" if found.given else f", the last of {BASELINE}", len(curves.seeds)
    lines = [
        f"  {strategy}: {_text(strategy, needed, seeds)}" for strategy, needed in found.strategies.items()
    ]
    return [f"labels for AP {found.ap:.3f}{last}:", *lines]


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
    return LabelsNeeded(labels, at_most, failed, points[-1].cost if points else 0.0, by_seed, seeds_at_most)


def _first(costs: list[float], values: list[float], target: float) -> tuple[float | None, bool]:
    """Return where a curve first reaches the target, and whether that is at most, at its first point."""
    cost = cost_to_reach(costs, values, target)
    return cost, cost is not None and 0 < cost == costs[0] and values[0] >= target


def _compared(needed: LabelsNeeded, random: LabelsNeeded, seeds: int) -> LabelsNeeded:
    """Return the labels with their ratio and difference to those of random."""
    ratio, difference = None, None
    if needed.labels is not None and random.labels and not (needed.at_most or random.at_most):
        ratio = needed.labels / random.labels
    all_reach = len(needed.by_seed) == len(random.by_seed) == seeds > 1
    if all_reach and needed is not random and not (needed.seeds_at_most or random.seeds_at_most):
        difference = paired_difference(needed.by_seed, random.by_seed)
    return replace(needed, relative_to_random=ratio, minus_random=difference)


def _text(strategy: str, needed: LabelsNeeded, seeds: int) -> str:
    ratio, difference = needed.relative_to_random, needed.minus_random
    if needed.labels is not None:
        text = f"{needed.labels:.0f}" + (" or fewer" if needed.at_most else "")
    else:
        text = "failed" if needed.failed else f"not reached with {needed.last:.0f}"
    if ratio is not None and strategy != BASELINE:
        text += f", {ratio:.2f} of random's"
    if difference is not None:
        text += (
            f"; by seed {difference.mean:+.0f} labels "
            f"(95 % interval {difference.low:+.0f} to {difference.high:+.0f}, {difference.seeds} seeds)"
        )
    elif seeds > 1:
        text += f"; {len(needed.by_seed)} of {seeds} seeds reach it"
    return text
