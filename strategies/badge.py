"""BADGE: gradients that are large and point in different directions."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from strategies.candidates import Candidates, needed
from strategies.distances import draw_near, squared_lengths, squared_to_nearest
from strategies.rows import IntArray


def gradients(candidates: Candidates) -> NDArray[np.float32]:
    """Return (n, (C + 1) r): the gradient of an image's loss in the classifier's last layer, had the model been right.

    Of a detection with distribution p, feature h and label y it is (p - onehot(y)) ⊗ h (Ash et al., eq. 1). A
    detector's loss is a sum over the boxes of an image, so the image's gradient is the *sum* of its detections':
    large where many boxes are unsure, small where their errors cancel; 0 for an image without any.
    """
    found = needed(candidates)
    errors = found.distributions.astype(np.float32)
    errors[np.arange(len(errors)), np.asarray(found.labels)] -= 1
    width = errors.shape[1] * found.features.shape[1]
    made = np.zeros((len(found), width), np.float32)
    for index in np.flatnonzero(found.counts):
        rows = found.of(index)
        made[index] = (errors[rows].T @ found.features[rows].astype(np.float32)).ravel()
    return made


def select_badge(candidates: Candidates, k: int, rng: Generator) -> IntArray:
    """Pick k images by k-means++ seeding on gradient embeddings: the largest first, then in proportion to the squared
    distance to those picked.

    Images without a detection have gradient 0 and come when all else is taken. Needs RoI features.
    Cost: O(n k C r) time, 4 n (C + 1) r bytes of memory for the gradients, O(n + m C) beside them for m detections.
    Source: Ash et al. 2020, Algorithm 1.
    """
    order = candidates.order
    made = gradients(candidates if candidates.in_order else candidates.subset(order))
    lengths = squared_lengths(made)
    picked = [int(lengths.argmax())]
    nearest = squared_to_nearest(made, lengths, made[picked[-1]])
    while len(picked) < k:
        np.maximum(nearest, 0.0, out=nearest)
        nearest[picked] = 0.0
        total = float(nearest.sum(dtype=np.float64))
        if total > 0:
            picked.append(int(rng.choice(len(made), p=nearest.astype(np.float64) / total)))
        else:
            picked.append(int(np.setdiff1d(np.arange(len(made)), picked)[0]))
        draw_near(nearest, made, lengths, made[picked[-1]])
    return np.asarray(order[picked])
