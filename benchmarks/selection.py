"""Seconds and memory of strategies on a million candidates, and the same rules by other libraries; one run.

    .venv/bin/python benchmarks/selection.py [--images 1000000] [--width 256] [--k 25]

Made-up features and detections: selection does not look at pixels. Memory is the growth of the process above the
arrays; a ratio below 1 means that ours is faster. Where a rule is the same and nothing in it differs at random, the picks must be
equal: it ends with status 1 where they are not. Needs scikit-activeml, which is among the development dependencies.
"""

from __future__ import annotations

import argparse
import gc
import resource
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

# A script's folder comes first on the path, and it holds a render.py.
sys.path.remove(str(Path(__file__).parent))

import numpy as np
from numpy.random import default_rng
from numpy.typing import NDArray
from skactiveml.base import SkactivemlClassifier
from skactiveml.pool import Badge, CoreSet, TypiClust, uncertainty_scores
from sklearn.cluster import KMeans
from sklearn.metrics import pairwise_distances_argmin

from strategies import Candidates, Detections, margin_sum, select
from strategies.clusters import NEIGHBOURS
from strategies.scores import per_image

REPEATS = 3

Picks = NDArray[np.int64]


def pool(n: int, width: int, per: int = 4, classes: int = 6) -> Candidates:
    """A pool of n images with `per` detections each and features about some centres."""
    rng = default_rng(0)
    points = rng.standard_normal((n, width), dtype=np.float32)
    points += rng.standard_normal((40, width), dtype=np.float32)[rng.integers(0, 40, n)] * 2
    m = n * per
    shares = rng.random((m, classes + 1), dtype=np.float32) ** 4
    shares /= shares.sum(axis=1, keepdims=True)
    labels = shares[:, :-1].argmax(axis=1)
    found = Detections(
        np.arange(0, m + 1, per),
        shares,
        labels,
        shares[np.arange(m), labels],
        np.zeros((m, 4), np.float32),
        np.zeros((m, 0), np.float32),
    )
    ids = [f"{i:08d}" for i in range(n)]
    return Candidates(ids, margin_sum(shares, found.offsets), points, found, labelled=points[:100] + 0.01)


class Peak:
    """Watches the resident memory of this process while it is entered, MiB."""

    def __enter__(self) -> Peak:
        gc.collect()
        self._first = self.most = _resident_mb()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def above(self) -> float:
        return self.most - self._first

    def _watch(self) -> None:
        while not self._stop.wait(0.01):
            self.most = max(self.most, _resident_mb())


def _resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Best seconds of REPEATS, and the most memory that any of them took."""
    seconds, memory = [], 0.0
    for _ in range(REPEATS):
        with Peak() as peak:
            began = time.perf_counter()
            work()
            seconds.append(time.perf_counter() - began)
        memory = max(memory, peak.above)
    return min(seconds), memory


def passes(points: np.ndarray, k: int) -> None:  # type: ignore[type-arg]
    """k bare distance passes: what greedy k-centre cannot do without."""
    for i in range(k):
        points @ points[i]


def report(name: str, seconds: float, memory: float | None, said: str = "") -> None:
    print(
        f"  {name:24} {seconds:8.3f} s  {'' if memory is None else f'{memory:5.0f} MiB  '}{said}", flush=True
    )


@dataclass
class Others:
    """Ours beside others, and rules of which the picks are not equal though they must be."""

    candidates: Candidates
    k: int
    unequal: list[str] = field(default_factory=list)

    def beside(self, name: str, whose: str, pick: Callable[[], Picks], why: str = "") -> None:
        """Time ours and theirs. why: picks may differ; without it they must be the same."""
        ours, _ = timed(lambda: select(name, self.candidates, self.k, default_rng(0)))
        theirs, _ = timed(pick)
        mine, yours = (
            set(np.asarray(p).tolist())
            for p in (select(name, self.candidates, self.k, default_rng(0)), pick())
        )
        said = (
            f"{len(mine & yours)} of {self.k} picks equal: {why}" if why else f"picks equal: {mine == yours}"
        )
        if not why and mine != yours:
            self.unequal.append(name)
        report(name, ours, None, f"{ours / theirs:.3f} x {whose} ({theirs:.2f} s); {said}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--k", type=int, default=25)
    args = parser.parse_args()
    candidates = pool(args.images, args.width)
    print(f"{args.images} x {args.width}, k = {args.k}")
    for name in ("random", "margin", "entropy", "most-boxes", "dbal", "kmeans"):
        report(name, *timed(lambda name=name: select(name, candidates, args.k, default_rng(0))))
    bare, _ = timed(lambda: passes(candidates.embeddings, args.k))
    for labelled in (1, 100):
        some = replace(candidates, labelled=candidates.embeddings[:labelled] + 0.01)
        seconds, memory = timed(lambda some=some: select("coreset", some, args.k, default_rng(0)))
        said = f"{seconds / bare:.2f} x {args.k} bare matrix-vector passes ({bare:.2f} s)"
        report(f"coreset, {labelled} labelled", seconds, memory, said)
    unequal = others(candidates, args.k)
    if unequal:
        sys.exit(f"other picks by the same rule: {', '.join(unequal)}")


def others(candidates: Candidates, k: int) -> list[str]:
    """The same rules by scikit-learn and scikit-activeml on a part of the pool; those with other picks, by name."""
    part = candidates.subset(np.arange(min(20_000, len(candidates))))
    points, known = part.embeddings[:], np.asarray(part.labelled)
    found = Others(part, k)
    print(f"\nthe first {len(part)}, ours against others")
    # What ours draws first: the same start.
    seed = int(default_rng(0).integers(2**31))

    def by_kmeans() -> Picks:
        centres = KMeans(k, n_init=1, random_state=seed).fit(points).cluster_centers_
        return pairwise_distances_argmin(centres, points)

    found.beside("kmeans", "sklearn's KMeans", by_kmeans)
    x = np.concatenate([points, known]).astype(np.float64)
    y = np.concatenate([np.full(len(part), np.nan), np.zeros(len(known))])
    cover = CoreSet(random_state=0, missing_label=np.nan)
    found.beside("coreset", "scikit-activeml's CoreSet", lambda: cover.query(X=x, y=y, batch_size=k))
    start = {"n_init": 1, "random_state": seed}
    typical = TypiClust(random_state=0, missing_label=np.nan, k=NEIGHBOURS, cluster_algo_dict=start)
    # Of clusters of equal size theirs takes one at random: among few images there are such.
    why = (
        "" if len(part) == 20_000 else "few images, and of clusters of equal size theirs takes one at random"
    )
    found.beside("typiclust", "its TypiClust", lambda: typical.query(X=x, y=y, batch_size=k), why)
    assert part.detections is not None
    shares, offsets = part.detections.distributions[:].astype(np.float64), part.detections.offsets

    def ranked(method: str) -> Picks:
        # Their margin is -(p1 - p2), ours 1 - (p1 - p2): the sum differs by the number of detections, the same here.
        return np.argsort(-per_image(uncertainty_scores(shares, method=method), offsets, "sum"))[:k]

    for name, method in (("entropy", "entropy"), ("least-confidence", "least_confident")):
        found.beside(name, "its scores, summed", lambda method=method: ranked(method))
    found.beside("margin", "its scores, summed (ours are read)", lambda: ranked("margin_sampling"))
    one = one_detection(part)
    assert one.detections is not None
    alone = Said(one.detections.distributions)
    badge = Badge(random_state=0, missing_label=np.nan)
    nothing = np.full(len(part), np.nan)
    wide = points.astype(np.float64)
    beside = Others(one, k)
    beside.beside(
        "badge",
        "its Badge, one detection an image",
        lambda: np.asarray(badge.query(X=wide, y=nothing, clf=alone, fit_clf=False, batch_size=k)),
        why="the first is the largest, the others are drawn at random",
    )
    return found.unequal


def one_detection(candidates: Candidates) -> Candidates:
    """The same with the first detection of each alone, its feature the image's embedding: what BADGE is defined for."""
    assert candidates.detections is not None
    shares = candidates.detections.distributions[candidates.detections.offsets[:-1]]
    labels, n = shares.argmax(axis=1), len(candidates)
    found = Detections(
        np.arange(n + 1),
        shares,
        labels,
        shares[np.arange(n), labels],
        np.zeros((n, 4), np.float32),
        candidates.embeddings[:],
    )
    return replace(candidates, detections=found)


class Said(SkactivemlClassifier):  # type: ignore[misc]
    """A classifier of which the answers are known."""

    def __init__(self, shares: object = None) -> None:
        super().__init__(missing_label=np.nan)
        self.shares = shares

    def fit(self, X: object, y: object, sample_weight: object = None) -> Said:  # noqa: N803
        return self

    def predict_proba(self, X: object) -> object:  # noqa: N803
        return self.shares


if __name__ == "__main__":
    main()
