"""DropQuery: the classifier behind the scores, and objects whose class hangs on few features."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.random import default_rng
from support.candidate_pools import make

from strategies import Candidates, Detections, select
from strategies.dropquery import linear_classifier, unstable_images
from strategies.rows import FloatArray

CLASSES, WIDTH = 3, 64


def softmax(logits: FloatArray) -> FloatArray:
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(e / e.sum(axis=1, keepdims=True))


def pool_of(features: FloatArray, weights: FloatArray) -> Candidates:
    """A pool of one box an image, with the softmax that the weights give to its features."""
    n = len(features)
    p = softmax(features @ weights)
    labels, scores = p[:, :-1].argmax(axis=1), p[:, :-1].max(axis=1)
    boxes = np.tile([0.0, 0, 9, 9], (n, 1))
    found = Detections(np.arange(n + 1), p, labels, scores, boxes, features)
    return dataclasses.replace(make(n), detections=found)


def test_the_classifier_is_found_from_its_inputs_and_outputs() -> None:
    rng = default_rng(0)
    features, weights, bias = rng.random((200, 8)), rng.normal(size=(8, 4)), rng.normal(size=4)
    found, constant = linear_classifier(features, softmax(features @ weights + bias))
    np.testing.assert_allclose(found, weights - weights.mean(axis=1, keepdims=True), atol=1e-9)
    np.testing.assert_allclose(constant, bias - bias.mean(), atol=1e-9)


def test_it_is_found_from_scores_in_half_precision() -> None:
    rng = default_rng(1)
    features, weights = rng.random((500, 8)), rng.normal(size=(8, 4))
    stored = softmax(features @ weights).astype(np.float16).astype(np.float64)
    found, _ = linear_classifier(features.astype(np.float16).astype(np.float64), stored)
    np.testing.assert_allclose(found, weights - weights.mean(axis=1, keepdims=True), atol=0.02)


def test_objects_that_many_features_support_are_stable() -> None:
    """The first half has every feature of its class; of the others two speak for it, and two against."""
    n = 100
    weights = np.zeros((WIDTH, CLASSES + 1))
    for c in range(CLASSES + 1):
        weights[c::4, c] = 0.5
    sure, unsure = np.zeros((n, WIDTH)), np.zeros((n, WIDTH))
    for row in range(n):
        sure[row, row % CLASSES :: 4] = 1.0
    unsure[:, [0, 4]], unsure[:, [1, 5]] = 1.2, 1.0
    noise = default_rng(2).normal(0, 0.01, (2 * n, WIDTH))
    pool = pool_of(np.concatenate([sure, unsure]) + noise, weights)
    found = unstable_images(pool, default_rng(0))
    assert set(found) <= set(range(n, 2 * n))
    assert 0.3 * n < len(found) < 0.9 * n
    assert set(select("dropquery", pool, 5, default_rng(0)).tolist()) <= set(found.tolist())


def test_random_images_fill_up() -> None:
    weights = np.zeros((WIDTH, CLASSES + 1))
    weights[:, 0] = 5.0
    pool = pool_of(np.ones((20, WIDTH)), weights)
    assert not len(unstable_images(pool, default_rng(0)))
    picks = {tuple(sorted(select("dropquery", pool, 3, default_rng(seed)).tolist())) for seed in range(5)}
    assert len(picks) > 1
