"""Uncertainty of detections, and of images.

Every score is >= 0 and high where the detector is uncertain. Distributions include the background: without
it, a detector of one class is always certain.
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

    distributions: (n, C + 1) class probabilities with the background, rows summing to 1.

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


def mask_margins(masks: Table) -> FloatArray:
    """Return 1 - 2 mean |p - 1/2| over the cells of the mask of each detection, shape (n,), in [0, 1].

    masks: (n, cells) of 255, probability p of the object inside the box. It is the margin between object and
    background, 1 - |p - (1 - p)|, averaged over the cells: 0 for a mask that is sure of every cell.
    """
    scores = np.empty(len(masks))
    for start, block in blocks(masks):
        distances = np.abs(2 * block.astype(np.float64) - 255).mean(axis=1)
        scores[start : start + len(block)] = 1 - distances / 255
    return scores


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
    """Return the sum, mean or maximum over the detections of each image, shape (n,); 0 without any.

    values: (m,), image after image.  offsets: (n + 1,) rows of image i are offsets[i] to offsets[i + 1]. The
    value of an image does not depend on the images around it, to the last bit.
    """
    counts = np.diff(offsets)
    if how == "max":
        most, some = np.zeros(len(counts)), counts > 0
        if some.any():
            most[some] = np.maximum.reduceat(values, offsets[:-1][some])
        return most
    image = np.repeat(np.arange(len(counts)), counts)
    total = np.asarray(np.bincount(image, values, minlength=len(counts)), dtype=np.float64)
    return total / np.maximum(counts, 1) if how == "mean" else total


def margin_sum(distributions: Table, offsets: IntArray) -> FloatArray:
    """Return a(x) = sum of s(d) over the detections of each image, as `margins` and `per_image`.

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
    """Return a score of `SCORES`, aggregated over the detections of each candidate by `per_image`, (n,)."""
    detections = needed(candidates)
    return per_image(SCORES[score](detections.distributions), detections.offsets, how)


def by_score(score: str, how: How) -> Callable[[Candidates, int, Generator], IntArray]:
    """Return a strategy that ranks images by the sum, mean or maximum of a score of `SCORES`."""

    def pick(candidates: Candidates, k: int, rng: Generator) -> IntArray:
        """Pick the k images with the largest `image_scores`, ties by id; deterministic.

        Cost: O(m C) time for m detections, O(n + m) memory.
        Source: that of the score; sum, mean and maximum: Brust, Käding & Denzler 2019, section 3.
        """
        del rng
        return largest(image_scores(candidates, score, how), candidates.rank, k)

    return pick


def select_balanced_entropy(candidates: Candidates, k: int, rng: Generator) -> IntArray:
    """Pick the k images with the largest `balanced_entropies`, ties by id; deterministic.

    Cost: O(m C) time for m detections, O(n + m) memory.
    Source: Brust, Käding & Denzler 2019, section 3, with the entropy in place of the margin.
    """
    del rng
    return largest(balanced_entropies(candidates), candidates.rank, k)


def balanced_entropies(candidates: Candidates) -> FloatArray:
    """Return the sum of w_c H(d) over the detections of each candidate, (n,).

    w_c = (N + C) / (N_c + 1) for the class of a detection, with N_c labelled boxes of the class, N of all C
    classes. Without `labelled_classes` all weights are equal.
    """
    detections = needed(candidates)
    boxes = candidates.class_boxes
    weights = (boxes.sum() + len(boxes)) / (boxes + 1)
    weighted = entropies(detections.distributions) * weights[np.asarray(detections.labels[:])]
    return per_image(weighted, detections.offsets, "sum")


def select_mask_margin(candidates: Candidates, k: int, rng: Generator) -> IntArray:
    """Pick the k images with the largest sum of `mask_margins` over their detections, ties by id.

    It is `margin` with the margin of masks, object against background, in place of that of classes.
    Deterministic.
    Cost: O(m) time for m detections, O(n) memory.
    Source: that of the sum: Eversberg & Lambrecht 2024, eq. 2. Margins of pixels: Settles 2009, section 3.1.
    """
    del rng
    return largest(mask_margin_sums(candidates), candidates.rank, k)


def mask_margin_sums(candidates: Candidates) -> FloatArray:
    """Return the sum of `mask_margins` over the detections of each candidate, (n,); 0 without any."""
    detections = needed(candidates)
    if detections.mask_margins is None:
        raise CandidatesError("mask-margin needs the masks of the detections of every candidate, got none")
    return per_image(np.asarray(detections.mask_margins, np.float64), detections.offsets, "sum")


def select_most_boxes(candidates: Candidates, k: int, rng: Generator, *, min_score: float = 0.3) -> IntArray:
    """Pick the k images with the most detections of score >= min_score, ties by id.

    A baseline: strategies that sum over detections prefer crowded images as well.
    Cost: O(m) time for m detections, O(n) memory.
    """
    del rng
    return largest(box_counts(candidates, min_score), candidates.rank, k)


def box_counts(candidates: Candidates, min_score: float = 0.3) -> FloatArray:
    """Return the number of detections of score >= min_score of each candidate, (n,)."""
    detections = needed(candidates)
    counted = np.asarray(detections.scores) >= min_score
    return per_image(counted.astype(np.float64), detections.offsets, "sum")
