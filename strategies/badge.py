"""BADGE: gradients that are large and point in different directions."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from strategies.candidates import Candidates, needed
from strategies.distances import draw_near, squared_lengths, squared_to_nearest
from strategies.rows import IntArray


def gradients(candidates: Candidates) -> NDArray[np.float32]:
    """Return the loss gradient of each image in the classifier's last layer for the predicted labels.

    Shape (n, (C + 1) r). That of a detection with distribution p, feature h and label y is
    (p - onehot(y)) ⊗ h (Ash et al., eq. 1). A detector's loss is a sum over boxes, so an image has the sum of
    its detections' gradients: large for many uncertain boxes, small where errors cancel, 0 without boxes.
    """
    detections = needed(candidates)
    errors = detections.distributions.astype(np.float32)
    errors[np.arange(len(errors)), np.asarray(detections.labels)] -= 1
    width = errors.shape[1] * detections.features.shape[1]
    embedded = np.zeros((len(detections), width), np.float32)
    for index in np.flatnonzero(detections.counts):
        rows = detections.of(index)
        embedded[index] = (errors[rows].T @ detections.features[rows].astype(np.float32)).ravel()
    return embedded


def select_badge(candidates: Candidates, k: int, rng: Generator) -> IntArray:
    """Pick k images by k-means++ seeding on gradients: the largest, then by squared distance to the picks.

    Images without detections have gradient 0 and come last. Needs RoI features.
    Cost: O(n k C r) time; 4 n (C + 1) r bytes of memory for the gradients, O(n + m C) more for m detections.
    Source: Ash et al. 2020, Algorithm 1.
    """
    order = candidates.order
    embedded = gradients(candidates if candidates.in_order else candidates.subset(order))
    lengths = squared_lengths(embedded)
    picked = [int(lengths.argmax())]
    nearest = squared_to_nearest(embedded, lengths, embedded[picked[-1]])
    while len(picked) < k:
        np.maximum(nearest, 0.0, out=nearest)
        nearest[picked] = 0.0
        total = float(nearest.sum(dtype=np.float64))
        if total > 0:
            picked.append(int(rng.choice(len(embedded), p=nearest.astype(np.float64) / total)))
        else:
            picked.append(int(np.setdiff1d(np.arange(len(embedded)), picked)[0]))
        draw_near(nearest, embedded, lengths, embedded[picked[-1]])
    return np.asarray(order[picked])
