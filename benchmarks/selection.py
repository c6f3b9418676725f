"""Seconds and memory of strategies on a million candidates, compared with the same rules in other libraries.

    .venv/bin/python benchmarks/selection.py [--images 1000000] [--width 256] [--k 25]

Features and detections are synthetic. Memory is the growth of the process above the arrays; a ratio below 1
means that al-loop is faster. Where two implementations of a rule use no random numbers, their picks must be
equal: the exit status is 1 if they are not. Needs scikit-activeml, one of the development dependencies.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
from measuring import PeakMemory, seconds
from numpy.random import default_rng
from numpy.typing import NDArray
from skactiveml.base import SkactivemlClassifier
from skactiveml.pool import Badge, CoreSet, TypiClust, uncertainty_scores
from sklearn.cluster import KMeans
from sklearn.metrics import pairwise_distances_argmin

from strategies import Calibration, Candidates, Detections, margin_sum, select
from strategies.clusters import NEIGHBOURS
from strategies.scores import per_image

REPEATS = 3

Picks = NDArray[np.int64]


def pool(n: int, width: int, per: int = 4, classes: int = 6) -> Candidates:
    """Return n images with `per` detections each and features around some centres."""
    rng = default_rng(0)
    points = rng.standard_normal((n, width), dtype=np.float32)
    points += rng.standard_normal((40, width), dtype=np.float32)[rng.integers(0, 40, n)] * 2
    m = n * per
    shares = rng.random((m, classes + 1), dtype=np.float32) ** 4
    shares /= shares.sum(axis=1, keepdims=True)
    labels = shares[:, :-1].argmax(axis=1)
    detections = Detections(
        np.arange(0, m + 1, per),
        shares,
        labels,
        shares[np.arange(m), labels],
        np.zeros((m, 4), np.float32),
        np.zeros((m, 0), np.float32),
    )
    ids = [f"{i:08d}" for i in range(n)]
    uncertainty = margin_sum(shares, detections.offsets)
    return Candidates(
        ids,
        uncertainty,
        points,
        detections,
        labelled=points[:100] + 0.01,
        count_r2=0.9,
        calibration=Calibration(1.2, (0.0,) * classes, 0.8, 0.3, 0.2),
    )


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Return the best seconds of REPEATS, and the peak memory of any, MiB."""
    times, peak = [], 0.0
    for _ in range(REPEATS):
        with PeakMemory() as memory:
            times.append(seconds(work))
        peak = max(peak, memory.total)
    return min(times), peak


def distance_passes(points: NDArray[np.float32], k: int) -> None:
    """Compute k distance passes, which greedy k-centre cannot do without."""
    for i in range(k):
        points @ points[i]


def print_row(name: str, took: float, memory: float | None, note: str = "") -> None:
    column = "" if memory is None else f"{memory:5.0f} MiB  "
    print(f"  {name:24} {took:8.3f} s  {column}{note}", flush=True)


@dataclass
class Comparison:
    """al-loop's strategies and other implementations on the same candidates.

    unequal: rules whose picks differ, although they should be equal.
    """

    candidates: Candidates
    k: int
    unequal: list[str] = field(default_factory=list)

    def compare(self, name: str, other: str, pick: Callable[[], Picks], why: str = "") -> None:
        """Time both. why: picks may differ; without it they must be equal."""
        own_pick = partial(select, name, self.candidates, self.k)
        (own_s, _), (other_s, _) = timed(lambda: own_pick(default_rng(0))), timed(pick)
        own, others = (set(np.asarray(p).tolist()) for p in (own_pick(default_rng(0)), pick()))
        equal = f"picks equal: {own == others}"
        if why:
            equal = f"{len(own & others)} of {self.k} picks equal: {why}"
        if not why and own != others:
            self.unequal.append(name)
        print_row(name, own_s, None, f"{own_s / other_s:.3f} x {other} ({other_s:.2f} s); {equal}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--k", type=int, default=25)
    args = parser.parse_args()
    candidates = pool(args.images, args.width)
    print(f"{args.images} x {args.width}, k = {args.k}")
    for name in ("random", "margin", "entropy", "most-boxes", "dbal", "kmeans", "coverage", "calibrated"):
        print_row(name, *timed(lambda name=name: select(name, candidates, args.k, default_rng(0))))
    bare, _ = timed(lambda: distance_passes(candidates.embeddings, args.k))
    for labelled in (1, 100):
        some = replace(candidates, labelled=candidates.embeddings[:labelled] + 0.01)
        took, memory = timed(lambda some=some: select("coreset", some, args.k, default_rng(0)))
        note = f"{took / bare:.2f} x {args.k} bare matrix-vector passes ({bare:.2f} s)"
        print_row(f"coreset, {labelled} labelled", took, memory, note)
    unequal = compare_libraries(candidates, args.k)
    if unequal:
        sys.exit(f"different picks by the same rule: {', '.join(unequal)}")


def compare_libraries(candidates: Candidates, k: int) -> list[str]:
    """Compare with scikit-learn and scikit-activeml on a part of the pool; return rules that differ."""
    part = candidates.subset(np.arange(min(20_000, len(candidates))))
    points, known = part.embeddings[:], np.asarray(part.labelled)
    comparison = Comparison(part, k)
    print(f"\nthe first {len(part)}, compared with other libraries")
    # The first number that al-loop's KMeans draws, for the same start.
    seed = int(default_rng(0).integers(2**31))

    def by_kmeans() -> Picks:
        centres = KMeans(k, n_init=1, random_state=seed).fit(points).cluster_centers_
        return pairwise_distances_argmin(centres, points)

    comparison.compare("kmeans", "sklearn's KMeans", by_kmeans)
    x = np.concatenate([points, known]).astype(np.float64)
    y = np.concatenate([np.full(len(part), np.nan), np.zeros(len(known))])
    cover = CoreSet(random_state=0, missing_label=np.nan)
    comparison.compare("coreset", "scikit-activeml's CoreSet", lambda: cover.query(X=x, y=y, batch_size=k))
    start = {"n_init": 1, "random_state": seed}
    typical = TypiClust(random_state=0, missing_label=np.nan, k=NEIGHBOURS, cluster_algo_dict=start)
    # Of clusters of equal size it takes one at random, which only happens with few images.
    why = "" if len(part) == 20_000 else "few images: it takes one of equally large clusters at random"
    comparison.compare("typiclust", "its TypiClust", lambda: typical.query(X=x, y=y, batch_size=k), why)
    assert part.detections is not None
    shares, offsets = part.detections.distributions[:].astype(np.float64), part.detections.offsets

    def ranked(method: str) -> Picks:
        # Its margin is -(p1 - p2), al-loop's 1 - (p1 - p2): here both sums differ by a constant.
        return np.argsort(-per_image(uncertainty_scores(shares, method=method), offsets, "sum"))[:k]

    for name, method in (("entropy", "entropy"), ("least-confidence", "least_confident")):
        comparison.compare(name, "its scores, summed", lambda method=method: ranked(method))
    comparison.compare(
        "margin", "its scores, summed (al-loop reads stored ones)", lambda: ranked("margin_sampling")
    )
    one = one_detection(part)
    assert one.detections is not None
    classifier = FixedClassifier(one.detections.distributions)
    badge = Badge(random_state=0, missing_label=np.nan)
    unlabelled = np.full(len(part), np.nan)
    features = points.astype(np.float64)
    Comparison(one, k).compare(
        "badge",
        "its Badge, one detection per image",
        lambda: np.asarray(
            badge.query(X=features, y=unlabelled, clf=classifier, fit_clf=False, batch_size=k)
        ),
        why="the first is the largest, the others are random",
    )
    return comparison.unequal


def one_detection(candidates: Candidates) -> Candidates:
    """Keep the first detection of each image, with the image's embedding as its feature."""
    assert candidates.detections is not None
    shares = candidates.detections.distributions[candidates.detections.offsets[:-1]]
    labels, n = shares.argmax(axis=1), len(candidates)
    detections = Detections(
        np.arange(n + 1),
        shares,
        labels,
        shares[np.arange(n), labels],
        np.zeros((n, 4), np.float32),
        candidates.embeddings[:],
    )
    return replace(candidates, detections=detections)


class FixedClassifier(SkactivemlClassifier):  # type: ignore[misc]
    """A classifier with fixed answers."""

    def __init__(self, shares: object = None) -> None:
        super().__init__(missing_label=np.nan)
        self.shares = shares

    def fit(self, X: object, y: object, sample_weight: object = None) -> FixedClassifier:  # noqa: N803
        return self

    def predict_proba(self, X: object) -> object:  # noqa: N803
        return self.shares


if __name__ == "__main__":
    main()
