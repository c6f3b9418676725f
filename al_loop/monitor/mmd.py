"""Maximum mean discrepancy: a test whether two sets of vectors have the same distribution."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray

Float64Array = NDArray[np.float64]


@dataclass(frozen=True)
class TwoSample:
    """Result of the test.

    mmd2: unbiased estimate of the squared discrepancy; may be below 0.
    effect: distance of the means in the kernel's space, in standard deviations of the reference (Cohen's d).
    p: by permutation, at least 1 / (1 + permutations).
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

    Kernel: exp(-|x - y|² / (2 σ²)); σ is `bandwidth`, by default the median distance of all pairs.
    Cost: O((m + n)² (d + permutations)) time, O((m + n)²) memory.
    Raises ValueError for fewer rows, or different widths.
    Source: Gretton et al. 2012, "A Kernel Two-Sample Test", lemma 6 (MMD²_u) and section 8 (median
    heuristic); Phipson & Smyth 2010 (p of a permutation test is never 0).
    """
    first, second = np.asarray(reference, np.float64), np.asarray(window, np.float64)
    shapes = first.ndim == second.ndim == 2 and first.shape[1] == second.shape[1]
    if not shapes or min(len(first), len(second)) < 2:
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
    # The tolerance: the same split must count, whatever the order of its sums.
    above = int((_mmd2(kernel, drawn) >= value - 1e-12).sum())
    spread = 1 - float(kernel[:m, :m].sum()) / (m * (m - 1))
    effect = math.sqrt(max(0.0, value) / spread) if spread > 0 else (0.0 if value <= 0 else math.inf)
    return TwoSample(value, effect, (1 + above) / (1 + permutations))


def witness(reference: ArrayLike, window: ArrayLike, bandwidth: float | None = None) -> Float64Array:
    """Return (n,) how much more similar each vector of the window is to the window than to the reference.

    Source: Gretton et al. 2012, section 2.3 (the witness function), without the similarity to itself.
    """
    first, second = np.asarray(reference, np.float64), np.asarray(window, np.float64)
    kernel = rbf(squared_distances(np.concatenate([first, second])), bandwidth)
    m, n = len(first), len(second)
    like_window = kernel[m:, m:].sum(axis=1) / max(1, n - 1)
    return np.asarray(like_window - kernel[m:, :m].mean(axis=1))


def squared_distances(vectors: Float64Array) -> Float64Array:
    """Return the (n, n) squared distances of n vectors."""
    centred = vectors - vectors.mean(axis=0)  # smaller numbers lose fewer digits below
    norms = (centred**2).sum(axis=1)
    return np.asarray(np.maximum(norms[:, None] + norms[None, :] - 2 * centred @ centred.T, 0.0))


def rbf(squared: Float64Array, bandwidth: float | None = None) -> Float64Array:
    """Return the kernel of all pairs, with 0 on the diagonal."""
    if bandwidth is None:
        bandwidth = math.sqrt(float(np.median(squared[np.triu_indices(len(squared), 1)])))
    # Median 0: any width separates equal from unequal.
    kernel = np.exp(-squared / (2 * bandwidth**2)) if bandwidth > 0 else (squared == 0).astype(np.float64)
    np.fill_diagonal(kernel, 0.0)
    return np.asarray(kernel)


def _mmd2(kernel: Float64Array, inside: Float64Array) -> Float64Array:
    """Return (rows,) MMD²_u of splits; inside: (rows, N), 1 where a vector is in the second set."""
    n = int(inside[0].sum())
    m = inside.shape[1] - n
    within = ((inside @ kernel) * inside).sum(axis=1)
    across = inside @ kernel.sum(axis=1) - within
    others = kernel.sum() - within - 2 * across
    return np.asarray(others / (m * (m - 1)) + within / (n * (n - 1)) - 2 * across / (m * n))
