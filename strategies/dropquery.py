"""DropQuery: images with an object whose class changes when a part of its features is left out."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from strategies.candidates import Candidates, needed
from strategies.clusters import SAMPLE, cluster_representatives
from strategies.objects import objects
from strategies.rows import FloatArray, IntArray

#: Share of the features that a copy leaves out, and number of copies.
_DROPPED, _COPIES = 0.75, 3
#: The classifier is found from at most so many boxes. Others are read in blocks.
_FITTED, _BLOCK = 20_000, 4096
#: Smallest probability: smaller ones are rounded to 0 where scores are stored.
_LEAST = 1e-6


def select_dropquery(candidates: Candidates, k: int, rng: Generator) -> IntArray:
    """Pick k images spread over those with an object whose class changes without a part of its features.

    An object (`strategies.objects`) is unstable if the classifier gives another class, or the background, to
    more than half of 3 copies of its features of which 75 % are zero and the rest is divided by 0.25. The
    images with such an object are clustered into k clusters of the embeddings; the picks are the nearest
    distinct images of the centres. If they are fewer than k, random images fill up.

    Needs RoI features, from which `linear_classifier` finds the classifier. A larger pool is cut to a random
    sample of SAMPLE candidates.
    Cost: O(b²) for an image of b boxes, O(m r C) for m boxes of r features, then as `kmeans`; O(m + r)
    memory.
    Source: Gupte, Aklilu, Nirschl & Yeung-Levy 2024, "Revisiting Active Learning in the Era of Vision
    Foundation Models", section 3.4, for images of one class. Objects in place of images are ours.
    """
    order = candidates.order
    if len(order) > max(SAMPLE, k):
        order = order[np.sort(rng.choice(len(order), max(SAMPLE, k), replace=False))]
    if len(order) <= k:
        return order
    unstable = unstable_images(candidates.subset(order), rng)
    if len(unstable) <= k:
        others = np.setdiff1d(np.arange(len(order)), unstable)
        fill = rng.choice(others, k - len(unstable), replace=False)
        return np.asarray(order[[*unstable, *fill]])
    points = candidates.embeddings[order[unstable]].astype(np.float64)
    return np.asarray(order[unstable[cluster_representatives(points, np.ones(len(points)), k, rng)]])


def unstable_images(candidates: Candidates, rng: Generator) -> IntArray:
    """Return the indices of the candidates with an unstable object, ascending."""
    detections = needed(candidates)
    rows = objects(detections)
    if not len(rows):
        return np.zeros(0, np.int64)
    some = rows[:: max(1, -(-len(rows) // _FITTED))]
    weights, bias = linear_classifier(
        detections.features[some].astype(np.float64), detections.distributions[some].astype(np.float64)
    )
    changes = np.zeros(len(rows), np.int64)
    for start in range(0, len(rows), _BLOCK):
        part = slice(start, start + _BLOCK)
        features = detections.features[rows[part]].astype(np.float32)
        before = detections.distributions[rows[part]].argmax(axis=1)
        for _ in range(_COPIES):
            kept = features * (rng.random(features.shape, np.float32) >= _DROPPED)
            changes[part] += (kept @ (weights / (1 - _DROPPED)) + bias).argmax(axis=1) != before
    return np.asarray(np.unique(detections.image[rows[2 * changes > _COPIES]]))


def linear_classifier(features: FloatArray, distributions: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the weights, (r, C + 1), and the bias, (C + 1,), of the classifier that made distributions.

    features: (m, r) its inputs.
    distributions: (m, C + 1) its softmax.
    The logits are linear in the features, and the log of the softmax is the logits but for a constant of each
    box. So a least-squares fit of the centred log returns the centred weights exactly, from r + 1 boxes on;
    of fewer boxes those of least length that explain them.
    """
    logits = np.log(np.maximum(distributions, _LEAST))
    logits -= logits.mean(axis=1, keepdims=True)
    inputs = np.column_stack([features, np.ones(len(logits))])
    solution = np.linalg.lstsq(inputs, logits, rcond=None)[0]
    return solution[:-1], solution[-1]
