"""What learning curves say: areas, labels to reach an AP, and how sure a difference is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

_RESAMPLES = 10_000
#: Student's t for a two-sided 95 % interval, by degrees of freedom from 1.
_T95 = (
    12.706,
    4.303,
    3.182,
    2.776,
    2.571,
    2.447,
    2.365,
    2.306,
    2.262,
    2.228,
    2.201,
    2.179,
    2.160,
    2.145,
    2.131,
)


@dataclass(frozen=True)
class Interval:
    """A mean over seeds and its 95 % interval; low and high are None for one seed."""

    mean: float
    low: float | None
    high: float | None
    error: float | None  # standard error of the mean
    seeds: int


def over_seeds(values: Sequence[float]) -> Interval:
    """Mean of one number per seed, with Student's interval."""
    array = np.asarray(values, dtype=np.float64)
    n = len(array)
    mean = float(array.mean())
    if n < 2:
        return Interval(mean, None, None, None, n)
    error = float(array.std(ddof=1) / math.sqrt(n))
    reach = (_T95[n - 2] if n - 2 < len(_T95) else 1.96) * error
    return Interval(mean, mean - reach, mean + reach, error, n)


def area(
    costs: Sequence[float], values: Sequence[float], between: tuple[float, float] | None = None
) -> float:
    """Mean height of a curve, by trapezoids, between two costs on it; of a single one, its height there.

    costs: ascending, some perhaps equal.  between: by default the first and the last.
    """
    x, y = np.asarray(costs, dtype=np.float64), np.asarray(values, dtype=np.float64)
    low, high = between or (float(x[0]), float(x[-1]))
    if low == high:
        return float(y[x == low].mean()) if low in x else float(np.interp(low, x, y))
    inside = (x >= low) & (x <= high)
    ends = [at for at in (low, high) if at not in x]
    places = np.concatenate([x[inside], ends])
    heights = np.concatenate([y[inside], np.interp(ends, x, y)])
    order = np.argsort(places, kind="stable")
    x, y = places[order], heights[order]
    return float(((y[1:] + y[:-1]) / 2 * np.diff(x)).sum() / (high - low))


def cost_to_reach(costs: Sequence[float], values: Sequence[float], target: float) -> float | None:
    """The first cost at which a curve, straight between its points, is at the target; None if it never is."""
    for i, (cost, value) in enumerate(zip(costs, values, strict=True)):
        if value >= target:
            if i == 0:
                return float(cost)
            share = (target - values[i - 1]) / (value - values[i - 1])
            return float(costs[i - 1] + share * (cost - costs[i - 1]))
    return None


def paired(ours: Mapping[int, float], theirs: Mapping[int, float], seed: int = 0) -> Interval:
    """Mean difference over the seeds that both have, with a 95 % interval: the wider of bootstrap and Student's.

    Paired: the same seed draws the same first images and trains with the same random numbers, so that what seeds
    have in common cancels. The bootstrap over seeds (percentiles; Efron & Tibshirani 1993, chapter 13) is far too
    narrow for few of them: of two seeds it knows nothing but their two values. Student's is not.
    """
    shared = sorted(ours.keys() & theirs.keys())
    if not shared:
        raise ValueError("expected a seed that both have, got none")
    apart = np.array([ours[s] - theirs[s] for s in shared])
    n = len(apart)
    by_student = over_seeds(apart.tolist())
    if by_student.low is None or by_student.high is None:
        return by_student
    drawn = np.random.default_rng(seed).integers(0, n, (_RESAMPLES, n))
    low, high = np.quantile(apart[drawn].mean(axis=1), (0.025, 0.975))
    return replace(by_student, low=min(float(low), by_student.low), high=max(float(high), by_student.high))


def verdict(ours: str, theirs: str, apart: Interval) -> str:
    """A difference as a plain sentence."""
    said = f"{ours} − {theirs}: {apart.mean:+.3f}"
    if apart.low is None or apart.high is None:
        return f"{said} at one seed, which says nothing of chance; run more: --seeds 5 --resume"
    said += f" (95 % interval {apart.low:+.3f} to {apart.high:+.3f}, {apart.seeds} seeds)"
    if apart.low > 0:
        return f"{said}: better"
    if apart.high < 0:
        return f"{said}: worse"
    return f"{said}: no evidence of a difference at {apart.seeds} seeds"
