"""Means, intervals and tests over seeds, and areas under learning curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats
from scipy.integrate import trapezoid

_RESAMPLES = 10_000
ONE_SEED = "one seed, which says nothing about chance; run more: --seeds 5 --resume"


@dataclass(frozen=True)
class Interval:
    """A mean over seeds and its 95 % interval.

    low, high: None for one seed.
    error: standard error of the mean; None for one seed.
    seeds: how many there are.
    """

    mean: float
    low: float | None
    high: float | None
    error: float | None
    seeds: int


def over_seeds(values: Sequence[float]) -> Interval:
    """Return the mean of one number per seed with Student's interval."""
    mean, n = float(np.mean(values)), len(values)
    if n < 2:
        return Interval(mean, None, None, None, n)
    error = float(stats.sem(values))
    margin = float(stats.t.ppf(0.975, n - 1)) * error
    return Interval(mean, mean - margin, mean + margin, error, n)


def paired_difference(values: Mapping[int, float], reference: Mapping[int, float], seed: int = 0) -> Interval:
    """Return the mean difference over the common seeds, with the wider of two 95 % intervals.

    Paired by seed, since a seed gives all trainings the same first images and random numbers. The intervals
    are Student's and that of the percentile bootstrap (Efron & Tibshirani 1993, chapter 13), which alone is
    too narrow for few seeds.

    values, reference: seed -> number. ValueError without a common seed.
    seed: of the bootstrap.
    """
    shared = sorted(values.keys() & reference.keys())
    if not shared:
        raise ValueError("expected a seed in common, got none")
    difference = np.array([values[s] - reference[s] for s in shared])
    student = over_seeds(difference.tolist())
    if student.low is None or student.high is None:
        return student
    rng = np.random.default_rng(seed)
    low, high = stats.bootstrap(
        (difference,), np.mean, n_resamples=_RESAMPLES, method="percentile", random_state=rng
    ).confidence_interval
    return replace(student, low=min(float(low), student.low), high=max(float(high), student.high))


def one_sided_p(values: Sequence[float], reference: Sequence[float]) -> float | None:
    """Return the one-sided p of Student's paired test that the values are larger; None for one pair.

    Source: the one-sided tests of Anderson et al. 2022, figure 2.
    """
    difference = np.asarray(values, np.float64) - np.asarray(reference, np.float64)
    if len(difference) < 2:
        return None
    if np.ptp(difference) == 0:  # the statistic divides by the spread
        return {1: 0.0, 0: 0.5, -1: 1.0}[int(np.sign(difference[0]))]
    return float(stats.ttest_1samp(difference, 0.0, alternative="greater").pvalue)


def verdict(name: str, reference: str, difference: Interval) -> str:
    """Return a difference of two strategies as a sentence."""
    text = f"{name} − {reference}: {difference.mean:+.3f}"
    if difference.low is None or difference.high is None:
        return f"{text} at {ONE_SEED}"
    text += f" (95 % interval {difference.low:+.3f} to {difference.high:+.3f}, {difference.seeds} seeds)"
    if difference.low > 0:
        return f"{text}: better"
    if difference.high < 0:
        return f"{text}: worse"
    return f"{text}: no evidence of a difference at {difference.seeds} seeds"


def area(
    costs: Sequence[float], values: Sequence[float], between: tuple[float, float] | None = None
) -> float:
    """Return the mean height of a curve between two costs, by trapezoids; at a single cost, its height there.

    costs: ascending, perhaps with repetitions.
    between: default: the first and the last cost.
    """
    x, y = np.asarray(costs, dtype=np.float64), np.asarray(values, dtype=np.float64)
    low, high = between or (float(x[0]), float(x[-1]))
    if low == high:
        return float(y[x == low].mean()) if low in x else float(np.interp(low, x, y))
    inside = (x >= low) & (x <= high)
    ends = [end for end in (low, high) if end not in x]
    costs_inside = np.concatenate([x[inside], ends])
    heights = np.concatenate([y[inside], np.interp(ends, x, y)])
    order = np.argsort(costs_inside, kind="stable")
    return float(trapezoid(heights[order], costs_inside[order]) / (high - low))


def cost_to_reach(costs: Sequence[float], values: Sequence[float], target: float) -> float | None:
    """Return the first cost at which a curve of straight lines reaches the target; None if it never does."""
    for i, (cost, value) in enumerate(zip(costs, values, strict=True)):
        if value >= target:
            if i == 0:
                return float(cost)
            share = (target - values[i - 1]) / (value - values[i - 1])
            return float(costs[i - 1] + share * (cost - costs[i - 1]))
    return None
