"""Maximum mean discrepancy: were two sets of vectors drawn alike?"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray

Float64Array = NDArray[np.float64]


@dataclass(frozen=True)
class TwoSample:
    """What the test says.

    mmd2: unbiased estimate of the squared discrepancy; may be below 0.  effect: distance of the means in the
    kernel's space, in standard deviations of the reference there, as Cohen's d.  p: by permutation, at least
    1 / (1 + permutations).
    """

    mmd2: float
    effect: float
    p: float


def two_sample(
    reference: ArrayLike,
    window: ArrayLike,
    rng: Generator,
    *,
    permutations: int = 999,
    bandwidth: float | None = None,
) -> TwoSample:
    """Test reference (m, d) against window (n, d), both of at least 2 rows.

    Kernel: exp(-|x - y|² / (2 σ²)); σ is `bandwidth`, by default the median distance of all pairs of both,
    which a permutation does not change. Cost: O((m + n)² (d + permutations)) time, O((m + n)²) memory.
    Raises ValueError for fewer rows, or other widths.
    Source: Gretton et al. 2012, "A Kernel Two-Sample Test", lemma 6 (MMD²_u) and section 8 (median
    heuristic); Phipson & Smyth 2010 (p of a permutation test is never 0).
    """
    first, second = np.asarray(reference, np.float64), np.asarray(window, np.float64)
    if (
        first.ndim != 2
        or second.ndim != 2
        or first.shape[1] != second.shape[1]
        or min(map(len, (first, second))) < 2
    ):
        raise ValueError(
            f"expected two arrays of at least 2 rows and of one width, got {first.shape}, {second.shape}"
        )
    kernel = rbf(squared_distances(np.concatenate([first, second])), bandwidth)
    m, n = len(first), len(second)
    inside = np.zeros((1, m + n), np.float64)
    inside[0, m:] = 1
    value = float(_mmd2(kernel, inside)[0])
    drawn = np.zeros((permutations, m + n), np.float64)
    for row in drawn:
        row[rng.permutation(m + n)[:n]] = 1
    # A permutation that gives the same split must count as such, whatever the order of its sums.
    above = int((_mmd2(kernel, drawn) >= value - 1e-12).sum())
    spread = 1 - float(kernel[:m, :m].sum()) / (m * (m - 1))
    effect = math.sqrt(max(0.0, value) / spread) if spread > 0 else (0.0 if value <= 0 else math.inf)
    return TwoSample(value, effect, (1 + above) / (1 + permutations))


def witness(reference: ArrayLike, window: ArrayLike, bandwidth: float | None = None) -> Float64Array:
    """(n,) how much more each vector of the window looks like the window than like the reference.

    Source: Gretton et al. 2012, section 2.3 (the witness function), without an image's likeness to itself.
    """
    first, second = np.asarray(reference, np.float64), np.asarray(window, np.float64)
    kernel = rbf(squared_distances(np.concatenate([first, second])), bandwidth)
    m, n = len(first), len(second)
    like_window = kernel[m:, m:].sum(axis=1) / max(1, n - 1)
    return np.asarray(like_window - kernel[m:, :m].mean(axis=1))


def squared_distances(vectors: Float64Array) -> Float64Array:
    """(n, n) squared distances of n vectors."""
    centred = vectors - vectors.mean(axis=0)  # distances stay, and what is subtracted below gets small
    norms = (centred**2).sum(axis=1)
    return np.asarray(np.maximum(norms[:, None] + norms[None, :] - 2 * centred @ centred.T, 0.0))


def rbf(squared: Float64Array, bandwidth: float | None = None) -> Float64Array:
    """Kernel of all pairs, without an image's likeness to itself: the diagonal is 0."""
    if bandwidth is None:
        bandwidth = math.sqrt(float(np.median(squared[np.triu_indices(len(squared), 1)])))
    # All alike, or more than half: any width tells equal from unequal.
    kernel = np.exp(-squared / (2 * bandwidth**2)) if bandwidth > 0 else (squared == 0).astype(np.float64)
    np.fill_diagonal(kernel, 0.0)
    return np.asarray(kernel)


def _mmd2(kernel: Float64Array, inside: Float64Array) -> Float64Array:
    """(rows,) MMD²_u of splits; inside: (rows, N) 1 where a vector is in the second set.  The diagonal of kernel is 0."""
    n = int(inside[0].sum())
    m = inside.shape[1] - n
    within = ((inside @ kernel) * inside).sum(axis=1)
    across = inside @ kernel.sum(axis=1) - within
    others = kernel.sum() - within - 2 * across
    return np.asarray(others / (m * (m - 1)) + within / (n * (n - 1)) - 2 * across / (m * n))
