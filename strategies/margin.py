"""Uncertainty by margin: how close the two most likely classes are."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from strategies.candidates import Candidates, CandidatesError, FloatArray, IntArray, most_uncertain


def margins(distributions: FloatArray) -> FloatArray:
    """Return s(d) = 1 - (p1 - p2) of each detection, shape (n,), in [0, 1].

    distributions: (n, C + 1) class probabilities *with the background*, rows summing to 1. With one
    class, p2 is the background's: a score that leaves it out is constant and says nothing.

    Source: Eversberg & Lambrecht 2024, eq. 1.
    """
    if distributions.ndim != 2 or distributions.shape[1] < 2:
        raise CandidatesError(
            f"distributions must have shape (n, classes + background), got {distributions.shape}"
        )
    top_two = np.partition(distributions, -2, axis=1)[:, -2:]
    return np.asarray(1.0 - (top_two[:, 1] - top_two[:, 0]), dtype=np.float64)


def margin_sum(distributions: FloatArray, offsets: IntArray) -> FloatArray:
    """Return a(x) = sum of s(d) over the detections of each image; 0 for an image without any.

    distributions: (n, C + 1), all detections, image after image.
    offsets: (images + 1,) detections of image i are rows offsets[i] to offsets[i + 1].

    Source: Eversberg & Lambrecht 2024, eq. 2.
    """
    running = np.concatenate([[0.0], np.cumsum(margins(distributions))])
    # A difference of running sums can come out a hair below zero.
    return np.asarray(np.maximum(running[offsets[1:]] - running[offsets[:-1]], 0.0), dtype=np.float64)


def select_margin(candidates: Candidates, k: int, rng: Generator) -> IntArray:
    """Pick the k largest uncertainties, largest first; deterministic, so `rng` is not drawn from.

    Cost: O(n log n) time, O(n) memory.
    """
    del rng
    return most_uncertain(candidates, k)
