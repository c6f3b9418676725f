"""Pools of made-up candidates for the strategies."""

from __future__ import annotations

import numpy as np
from numpy.random import default_rng

from strategies import Candidates, Detections, margin_sum


def detections(n: int, seed: int = 0, most: int = 6, classes: int = 3, width: int = 5) -> Detections:
    """Up to `most` random detections in each of n images."""
    rng = default_rng(seed)
    counts = rng.integers(0, most + 1, n)
    m = int(counts.sum())
    logits = rng.normal(0, 2, (m, classes + 1))
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = shares[:, :-1].argmax(axis=1)
    low = rng.uniform(0, 80, (m, 2))
    return Detections(
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        shares.astype(np.float32),
        labels,
        shares[np.arange(m), labels],
        np.concatenate([low, low + rng.uniform(5, 20, (m, 2))], axis=1),
        rng.normal(size=(m, width)).astype(np.float32),
    )


def make(n: int, seed: int = 0, d: int = 8) -> Candidates:
    """Candidates with all that any strategy reads, in the order of their names."""
    rng = default_rng(seed)
    found = detections(n, seed)
    return Candidates(
        tuple(f"img{i:03d}" for i in range(n)),
        margin_sum(found.distributions, found.offsets),
        rng.normal(size=(n, d)),
        found,
        labelled=rng.normal(size=(4, d)),
        labelled_classes=np.array([5.0, 1.0, 0.0]),
        augmented=(detections(n, seed + 1), detections(n, seed + 2)),
        class_quality=np.array([0.9, 0.5, 0.1]),
        count_r2=0.6,
    )
