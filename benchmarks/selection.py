"""Seconds and memory of strategies on a million candidates, and the same rules by other libraries; one run.

    .venv/bin/python benchmarks/selection.py [--images 1000000] [--width 256] [--k 25]

Made-up features and detections: selection does not look at pixels. Memory is the growth of the process above the
arrays; a ratio below 1 means that ours is faster. Needs scikit-activeml for the comparison: pip install scikit-activeml.
"""

from __future__ import annotations

import argparse
import gc
import resource
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

# A script's folder comes first on the path, and it holds a render.py.
sys.path.remove(str(Path(__file__).parent))

import numpy as np
from numpy.random import default_rng
from sklearn.cluster import MiniBatchKMeans

from strategies import Candidates, Detections, margin_sum, select
from strategies.scores import per_image

REPEATS = 3


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


def report(name: str, seconds: float, memory: float, said: str = "") -> None:
    print(f"  {name:28} {seconds:8.2f} s  {memory:7.0f} MiB  {said}")


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
    others(candidates, args.k)


def others(candidates: Candidates, k: int) -> None:
    """The same rules by scikit-learn and scikit-activeml on a part of the pool, and whether the picks are equal."""
    part = candidates.subset(np.arange(min(20_000, len(candidates))))
    print(f"\nthe first {len(part)}, ours against others")
    ours, _ = timed(lambda: select("kmeans", part, k, default_rng(0)))
    theirs, _ = timed(lambda: MiniBatchKMeans(k, n_init=1, random_state=0).fit(part.embeddings))
    report("kmeans", ours, 0, f"{ours / theirs:.2f} x sklearn's MiniBatchKMeans without the picks")
    try:
        from skactiveml.pool import CoreSet, uncertainty_scores
    except ImportError:
        print("  scikit-activeml is not installed: no comparison with it")
        return
    known = np.asarray(part.labelled)
    x = np.concatenate([part.embeddings, known]).astype(np.float64)
    y = np.concatenate([np.full(len(part), np.nan), np.zeros(len(known))])
    query = CoreSet(random_state=0, missing_label=np.nan)
    ours, _ = timed(lambda: select("coreset", part, k, default_rng(0)))
    theirs, _ = timed(lambda: query.query(X=x, y=y, batch_size=k))
    equal = set(query.query(X=x, y=y, batch_size=k).tolist()) == set(
        select("coreset", part, k, default_rng(0)).tolist()
    )
    report("coreset", ours, 0, f"{ours / theirs:.3f} x scikit-activeml's CoreSet; picks equal: {equal}")
    assert part.detections is not None
    shares = part.detections.distributions.astype(np.float64)
    for name, method in (
        ("margin", "margin_sampling"),
        ("entropy", "entropy"),
        ("least-confidence", "least_confident"),
    ):
        ours, _ = timed(lambda name=name: select(name, part, k, default_rng(0)))
        theirs, _ = timed(lambda method=method: uncertainty_scores(shares, method=method))
        values = per_image(uncertainty_scores(shares, method=method), part.detections.offsets, "sum")
        # Their margin is -(p1 - p2), ours 1 - (p1 - p2): the sum differs by the number of detections, the same here.
        best = set(np.argsort(-values)[:k].tolist())
        equal = best == set(select(name, part, k, default_rng(0)).tolist())
        report(name, ours, 0, f"{ours / theirs:.2f} x scikit-activeml's scores alone; picks equal: {equal}")


if __name__ == "__main__":
    main()
