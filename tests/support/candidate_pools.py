"""Pools of made-up candidates for the strategies."""

from __future__ import annotations

import numpy as np
from numpy.random import default_rng

from strategies import Calibration, Candidates, Detections, margin_sum


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
        rng.uniform(size=m).astype(np.float32),
    )


def make(n: int, seed: int = 0, d: int = 8) -> Candidates:
    """Candidates with all that any strategy reads, in the order of their names."""
    rng = default_rng(seed)
    predicted = detections(n, seed)
    return Candidates(
        tuple(f"img{i:03d}" for i in range(n)),
        margin_sum(predicted.distributions, predicted.offsets),
        rng.normal(size=(n, d)),
        predicted,
        labelled=rng.normal(size=(4, d)),
        labelled_classes=np.array([5.0, 1.0, 0.0]),
        augmented=(detections(n, seed + 1), detections(n, seed + 2)),
        class_quality=np.array([0.9, 0.5, 0.1]),
        count_r2=0.6,
        calibration=Calibration(1.2, (0.3, -0.5, 0.0), 0.8, 0.4, 0.3),
    )


def detections_of(
    offsets, distributions, labels=None, scores=None, boxes=None, features=None, **more
) -> Detections:  # type: ignore[no-untyped-def]
    distributions = np.asarray(distributions, dtype=float)
    m = len(distributions)
    labels = distributions[:, :-1].argmax(axis=1) if labels is None else np.asarray(labels)
    return Detections(
        np.asarray(offsets),
        distributions,
        labels,
        distributions[np.arange(m), labels] if scores is None else np.asarray(scores, dtype=float),
        np.tile([0.0, 0, 10, 10], (m, 1)) if boxes is None else np.asarray(boxes, dtype=float),
        np.zeros((m, 0)) if features is None else np.asarray(features, dtype=float),
        **more,
    )


def points(values, uncertainty=None, **more) -> Candidates:  # type: ignore[no-untyped-def]
    values = np.asarray(values, dtype=float)
    n = len(values)
    weights = np.ones(n) if uncertainty is None else np.asarray(uncertainty, dtype=float)
    return Candidates(tuple("abcdefghijklmnopqrstuvwxyz"[:n]), weights, values.reshape(n, -1), **more)


def names(pool: Candidates, picked) -> list[str]:  # type: ignore[no-untyped-def]
    return [pool.ids[i] for i in picked]
