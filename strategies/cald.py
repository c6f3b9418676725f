"""CALD: detections should not change when the image is flipped or darkened."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from strategies.candidates import Candidates, CandidatesError, Detections, largest, needed
from strategies.objects import iou
from strategies.rows import FloatArray, IntArray

#: Most informative consistency: lower is random, higher is certain.
BASE_POINT = 1.3


def select_cald(candidates: Candidates, k: int, rng: Generator, *, spare: float = 0.2) -> IntArray:
    """Pick k images whose detections change under augmentation, of classes that are rare among the labels.

    M(x) = mean over the augmented copies of min over x's boxes of |IoU + (1 - JS(p, p')) (s + s') / 2 - 1.3|,
    where box, distribution p' and score s' are those of the copy's box with the largest overlap (without one
    all are 0), and JS is in bits. Of the (1 + spare) k images of lowest M, one after another the one whose
    classes are farthest (JS) from those of labels and picks. Images without detections come last.
    Deterministic; ties by id.

    Needs `augmented`; without `labelled_classes` no boxes count as labelled.
    Cost: O(a b²) time per image for a copies and b boxes, and a forward passes; O(n + k C) memory.
    Source: Yu et al. 2022, eq. 1-5 and Algorithm 1.
    """
    del rng
    detections = needed(candidates)
    if not candidates.augmented:
        raise CandidatesError("cald needs detections in augmented copies of every candidate, got none")
    inconsistency = np.mean([consistency(detections, copy) for copy in candidates.augmented], axis=0)
    top = largest(-inconsistency, candidates.rank, int(np.ceil((1 + spare) * k)))
    if len(top) <= k:
        return top
    shown = _class_mass(detections.subset(top))
    labelled = np.zeros(detections.classes)
    if candidates.labelled_classes is not None:
        labelled += candidates.labelled_classes
    return top[_balanced(shown, labelled, k)]


def consistency(detections: Detections, copy: Detections) -> FloatArray:
    """Return the least |agreement - BASE_POINT| of each image's boxes, (n,); without boxes more."""
    result = np.full(len(detections), BASE_POINT + 2.0)
    for index in np.flatnonzero(detections.counts):
        rows, others = detections.of(index), copy.of(index)
        scores = detections.scores[rows].astype(np.float64)
        agreement = np.zeros(len(scores))
        if others.stop > others.start:
            overlap = iou(detections.boxes[rows], copy.boxes[others])
            best = overlap.argmax(axis=1)
            shared = overlap[np.arange(len(best)), best]
            js = jensen_shannon(detections.distributions[rows], copy.distributions[others][best])
            sure = (scores + copy.scores[others][best]) / 2
            agreement = np.where(shared > 0, shared + (1 - js) * sure, 0.0)
        result[index] = np.abs(agreement - BASE_POINT).min()
    return result


def jensen_shannon(p: FloatArray, q: FloatArray) -> FloatArray:
    """Return the divergence of rows that sum to 1, (n,), in bits, in [0, 1]."""
    p, q = np.maximum(p.astype(np.float64), 1e-12), np.maximum(q.astype(np.float64), 1e-12)
    middle = (p + q) / 2
    return np.asarray(((p * np.log2(p / middle)).sum(axis=1) + (q * np.log2(q / middle)).sum(axis=1)) / 2)


def _class_mass(detections: Detections) -> FloatArray:
    """Return the score of the best box of each class, (n, C)."""
    mass = np.zeros((len(detections), detections.classes))
    np.maximum.at(mass, (detections.image, detections.labels), detections.scores)
    return mass


def _balanced(shown: FloatArray, labelled: FloatArray, k: int) -> list[int]:
    """Return k rows of `shown`, each the least similar to labels and earlier picks; ties by row."""
    total = labelled.copy()
    picked: list[int] = []
    while len(picked) < k:
        left = np.setdiff1d(np.arange(len(shown)), picked)
        distance = jensen_shannon(
            _shares(shown[left]), np.broadcast_to(_shares(total[None]), shown[left].shape)
        )
        best = int(left[distance.round(12).argmax()])
        picked.append(best)
        total += shown[best]
    return picked


def _shares(mass: FloatArray) -> FloatArray:
    """Return rows scaled to sum 1; an empty one becomes uniform."""
    sums = mass.sum(axis=1, keepdims=True)
    return np.where(sums > 0, mass / np.maximum(sums, 1e-12), 1 / mass.shape[1])
