"""Calibrated: objects on which the detector may be wrong, by class and look, for the minutes they cost."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.random import Generator

from strategies.calibration import Calibration
from strategies.candidates import Candidates, CandidatesError, Detections, largest, needed
from strategies.clusters import clusters_with_labelled, select_typical
from strategies.coverage import greedy
from strategies.objects import objects
from strategies.prices import Prices
from strategies.rows import FloatArray, IntArray

#: Largest weight of a rare class.
_RAREST = 3.0
#: Larger pools are cut to the max(_POOL, _POOL_PER_K k) images of the largest gain for their cost.
_POOL, _POOL_PER_K = 2000, 40


def select_calibrated(
    candidates: Candidates,
    k: int,
    rng: Generator,
    *,
    cost: Literal["minutes", "images"] = "minutes",
    cluster_weight: float = 0.3,
) -> IntArray:
    """Pick k images of the largest expected gain for the minutes that people need for them.

    q(d), the chance that a box is right, is that of `calibration`. The gain of an object d
    (`strategies.objects`) of class c is u(d) p_c(d), where

        u(d) = −q ln q − (1 − q) ln(1 − q),

    so that false boxes that labels have refuted, and sure boxes that they have confirmed, count for nothing.
    p(d) are the class probabilities without the background. The value of a set S of images is

        f(S) = Σ_c w_c √(N_c + Σ_{x in S} Σ_{d in x} u(d) p_c(d)) + cluster_weight · Σ_v √(N_v + |S ∩ v|)

    with N_c labelled boxes of class c, w_c = min(3, √(max N / N_c)), and N_v labelled images in v, one of k
    clusters of the embeddings. Each pick has the largest gain for its price,

        t_image + Σ_d [q t_confirm + (1 − q) t_delete] + t_draw · E[missed].

    cost: "images": all images have the same price.
    cluster_weight: of the clusters; 0 leaves the embeddings out.
    If the AUC of right and wrong boxes is below MIN_AUC, or unknown, the picks are those of `typiclust`.

    Needs `calibration` and `labelled`, and reads `prices`; without `labelled_classes` no boxes count as
    labelled.
    Cost: O(b²) for an image of b boxes, O(n) to cut the pool to p = max(2000, 40 k) images, then as
    `coverage`; O(n + p (C + k)) memory.
    Source: calibration: Platt 1999. Class balance and price: Settles, Craven & Friedland 2008, "Active
    Learning with Real Annotation Costs". The objective: Wei, Iyer & Bilmes 2015; greedy by gain for cost:
    Krause & Guestrin 2005.
    """
    if cluster_weight < 0:
        raise CandidatesError(f"cluster_weight must be >= 0, got {cluster_weight:g}")
    detections = needed(candidates)
    if len(candidates) <= k:
        return candidates.order
    calibration, used = candidates.calibration, (candidates.prices or Prices()) if cost == "minutes" else None
    if calibration is None or not calibration.is_useful:
        return select_typical(candidates, k, rng)
    top = np.sort(_promising(candidates, calibration, used, max(_POOL, _POOL_PER_K * k)))
    order = top[np.argsort(candidates.rank[top])]
    mass, costs = expected(detections.subset(order), calibration, used)
    class_boxes = candidates.class_boxes
    rarity = np.minimum(_RAREST, np.sqrt(max(1.0, class_boxes.max()) / np.maximum(class_boxes, 1.0)))
    cluster, labelled = clusters_with_labelled(candidates, order, k, rng)
    members = np.eye(len(labelled))[cluster]
    parts = np.concatenate([mass, members], axis=1)
    weights = np.concatenate([rarity, np.full(len(labelled), cluster_weight)])
    return order[greedy(parts, np.concatenate([class_boxes, labelled]), weights, k, costs)]


def expected(
    detections: Detections, calibration: Calibration, prices: Prices | None
) -> tuple[FloatArray, FloatArray]:
    """Return the uncertain mass of each class, (n, C), and the price of each image, (n,), seconds."""
    rows = objects(detections)
    image = detections.image[rows]
    q = calibration.chances(np.asarray(detections.labels[rows]), detections.scores[rows])
    shares = detections.distributions[rows].astype(np.float64)[:, :-1]
    shares /= np.maximum(shares.sum(axis=1, keepdims=True), 1e-12)
    mass = np.zeros((len(detections), detections.classes))
    np.add.at(mass, image, entropy(q)[:, None] * shares)
    return mass, price(q, image, len(detections), calibration, prices)


def entropy(chances: FloatArray) -> FloatArray:
    """Return u = −q ln q − (1 − q) ln(1 − q) of chances q in (0, 1), nats."""
    return np.asarray(-chances * np.log(chances) - (1 - chances) * np.log1p(-chances))


def price(
    chances: FloatArray, image: IntArray, images: int, calibration: Calibration, prices: Prices | None
) -> FloatArray:
    """Return the expected seconds of an annotator for each image, (n,). All 1 without prices.

    chances: (m,) q of each box.
    image: (m,) index of the image of each box.
    """
    if prices is None:
        return np.ones(images)
    right = np.asarray(np.bincount(image, chances, images), np.float64)
    boxes = np.bincount(image, minlength=images)
    checked = prices.confirm * right + prices.delete * (boxes - right)
    return np.asarray(prices.image + checked + prices.draw * calibration.missed(right))


def _promising(
    candidates: Candidates, calibration: Calibration, prices: Prices | None, count: int
) -> IntArray:
    """Return the images with the largest sum of u over their boxes, for their price."""
    if len(candidates) <= count:
        return candidates.order
    detections = needed(candidates)
    q = calibration.chances(np.asarray(detections.labels[:]), detections.scores[:])
    total = np.bincount(detections.image, entropy(q), len(candidates))
    return largest(
        total / price(q, detections.image, len(candidates), calibration, prices), candidates.rank, count
    )
