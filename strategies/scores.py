"""Uncertainty of detections, and of images.

Every score is >= 0 and high where the detector is unsure; distributions hold the background, without which a
detector of one class is always sure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.random import Generator

from strategies.candidates import Candidates, CandidatesError, largest, most_uncertain, needed
from strategies.rows import AnyFloats, FloatArray, IntArray, Table, blocks

How = Literal["sum", "mean", "max"]


def margins(distributions: Table) -> FloatArray:
    """Return s(d) = 1 - (p1 - p2) of each detection, shape (n,), in [0, 1].

    distributions: (n, C + 1) class probabilities *with the background*, rows summing to 1. With one
    class, p2 is the background's: a score that leaves it out is constant and says nothing.

    Source: Eversberg & Lambrecht 2024, eq. 1.
    """

    def of(block: FloatArray) -> FloatArray:
        top_two = np.partition(block, -2, axis=1)[:, -2:]
        return np.asarray(1.0 - (top_two[:, 1] - top_two[:, 0]))

    return _by_block(distributions, of)


def entropies(distributions: Table) -> FloatArray:
    """Return H(d) = -sum p ln p of each detection, shape (n,), in nats, in [0, ln(C + 1)].

    Source: Settles 2009, eq. 3; for detections Roy et al. 2018.
    """

    def of(block: FloatArray) -> FloatArray:
        return np.asarray(-(block * np.log(np.maximum(block, 1e-30))).sum(axis=1))

    return np.maximum(_by_block(distributions, of), 0.0)


def least_confidences(distributions: Table) -> FloatArray:
    """Return 1 - p1 of each detection, shape (n,), in [0, C / (C + 1)].

    Source: Settles 2009, eq. 1; for detections Roy et al. 2018.
    """
    return np.maximum(_by_block(distributions, lambda block: np.asarray(1.0 - block.max(axis=1))), 0.0)


def _by_block(distributions: Table, of: Callable[[FloatArray], FloatArray]) -> FloatArray:
    if distributions.ndim != 2 or distributions.shape[1] < 2:
        raise CandidatesError(
            f"distributions must have shape (n, classes + background), got {distributions.shape}"
        )
    scores = np.empty(len(distributions))
    for start, block in blocks(distributions):
        scores[start : start + len(block)] = of(block.astype(np.float64))
    return scores


def per_image(values: AnyFloats, offsets: IntArray, how: How) -> FloatArray:
    """One number per image, shape (n,): the sum, mean or maximum over its detections; 0 for an image without any.

    values: (m,), image after image.  offsets: (n + 1,) rows of image i are offsets[i] to offsets[i + 1]. An
    image's number does not depend on the images around it, to the last bit.
    """
    counts = np.diff(offsets)
    largest_values = np.zeros(len(counts))
    if how == "max":
        some = counts > 0
        if some.any():
            largest_values[some] = np.maximum.reduceat(values, offsets[:-1][some])
        return largest_values
    image = np.repeat(np.arange(len(counts)), counts)
    total = np.asarray(np.bincount(image, values, minlength=len(counts)), dtype=np.float64)
    return total / np.maximum(counts, 1) if how == "mean" else total


def margin_sum(distributions: Table, offsets: IntArray) -> FloatArray:
    """Return a(x) = sum of s(d) over the detections of each image; 0 for an image without any.

    distributions: (n, C + 1), all detections, image after image.
    offsets: (images + 1,) detections of image i are rows offsets[i] to offsets[i + 1].

    Source: Eversberg & Lambrecht 2024, eq. 2.
    """
    return per_image(margins(distributions), offsets, "sum")


SCORES: Mapping[str, Callable[[Table], FloatArray]] = MappingProxyType(
    {"margin": margins, "entropy": entropies, "least-confidence": least_confidences}
)


def select_margin(candidates: Candidates, k: int, rng: Generator) -> IntArray:
    """Pick the k largest uncertainties, largest first; deterministic, so `rng` is not drawn from.

    Cost: O(n) time to find them, O(k log k) to sort them; O(n) memory.
    Source: Eversberg & Lambrecht 2024, eq. 2, the largest taken.
    """
    del rng
    return most_uncertain(candidates, k)


def image_scores(candidates: Candidates, score: str, how: How) -> FloatArray:
    """(n,) the sum, mean or maximum of a score of `SCORES` over the detections of each candidate; 0 without any."""
    detections = needed(candidates)
    return per_image(SCORES[score](detections.distributions), detections.offsets, how)


def by_score(score: str, how: How) -> Callable[[Candidates, int, Generator], IntArray]:
    """A strategy: the k images whose detections' scores have the largest sum, mean or maximum."""

    def pick(candidates: Candidates, k: int, rng: Generator) -> IntArray:
        del rng
        return largest(image_scores(candidates, score, how), candidates.rank, k)

    pick.__doc__ = (
        f"Pick the k images with the largest {how} over their detections of `strategies.scores.{SCORES[score].__name__}`, "
        "0 without any; ties by id, nothing drawn.\n\n"
        "Cost: O(m C) time for m detections, O(n + m) memory.\n"
        f"Source: that of `{SCORES[score].__name__}`; sum, mean and maximum over the detections of an image: Brust, Käding & "
        "Denzler 2019, section 3."
    )
    return pick


def select_most_boxes(candidates: Candidates, k: int, rng: Generator, *, min_score: float = 0.3) -> IntArray:
    """Pick the k images with the most detections of score >= min_score, ties by id.

    A control: whatever sums over detections likes crowded images; what it gains over this is due to its
    score.
    Cost: O(m) time for m detections, O(n) memory.
    """
    del rng
    return largest(box_counts(candidates, min_score), candidates.rank, k)


def box_counts(candidates: Candidates, min_score: float = 0.3) -> FloatArray:
    """(n,) detections of score >= min_score of each candidate."""
    detections = needed(candidates)
    return per_image(
        (np.asarray(detections.scores) >= min_score).astype(np.float64), detections.offsets, "sum"
    )
