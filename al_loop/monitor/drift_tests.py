"""Two-sample tests of a window of images against references."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.random import Generator
from scipy.stats import ks_2samp

from al_loop.core.config import DriftTrigger
from al_loop.monitor.mmd import two_sample, witness
from al_loop.structures.boxes import FloatArray
from al_loop.structures.images import Float32Array
from al_loop.structures.predictions import ScoredImages

#: Tested statistics. They share the level (Bonferroni).
NAMES = ("embedding", "boxes", "score")


@dataclass(frozen=True, eq=False)
class ImageStatistics:
    """Statistics of a model's output on n images.

    embedding: (n, d).
    boxes: (n,) number of boxes of at least `min_score`.
    score: (n,) best score, 0 without a box.
    """

    embedding: Float32Array
    boxes: FloatArray
    score: FloatArray

    def take(self, rows: Sequence[int] | np.ndarray) -> ImageStatistics:  # type: ignore[type-arg]
        """Return some rows."""
        return ImageStatistics(self.embedding[rows], self.boxes[rows], self.score[rows])

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.boxes)


@dataclass(frozen=True)
class Signal:
    """The test of one statistic of a window.

    p: p-value, the largest over the references.
    effect: of embeddings, the distance of the means in standard deviations of the reference, in the kernel's
        space; of the others, the largest difference of the distribution functions, in [0, 1].
    against: the most similar reference.
    """

    name: str
    p: float
    effect: float
    against: str
    drifted: bool


def image_statistics(scored: ScoredImages, min_score: float) -> ImageStatistics:
    """Return the statistics of each image; boxes below min_score are not counted."""
    scores = [scored.scores[start:end] for start, end in pairwise(scored.offsets)]
    boxes = np.array([(one >= min_score).sum() for one in scores], np.float64)
    best = np.array([one.max(initial=0.0) for one in scores], np.float64)
    return ImageStatistics(np.asarray(scored.embeddings, np.float32), boxes, best)


def level(rule: DriftTrigger) -> float:
    """Return the chance that one window without drift counts as drifted.

    The chance of an alarm in `horizon` windows is at most level ** consecutive_windows · horizon.
    Windows that share a reference are not independent: `al-loop monitor calibrate` measures the effect.
    """
    return float((rule.false_alarms / rule.horizon) ** (1 / rule.consecutive_windows))


def drift_signals(
    references: Mapping[str, ImageStatistics], window: ImageStatistics, rule: DriftTrigger, rng: Generator
) -> tuple[Signal, ...]:
    """Test a window against every reference. It has drifted if it differs from all of them.

    Embeddings by MMD², boxes and scores by the Kolmogorov–Smirnov test.
    """
    permutations = max(999, int(20 * len(NAMES) / level(rule)))
    found: dict[str, list[tuple[float, float, str]]] = {name: [] for name in NAMES}
    for against, reference in references.items():
        test = two_sample(reference.embedding, window.embedding, rng, permutations=permutations)
        found["embedding"].append((test.p, test.effect, against))
        for name in ("boxes", "score"):
            ks = ks_2samp(getattr(reference, name), getattr(window, name), method="asymp")
            found[name].append((float(ks.pvalue), float(ks.statistic), against))
    signals = []
    for name, tests in found.items():
        p, effect, against = max(tests, key=lambda test: (test[0], -test[1]))
        drifted = p <= level(rule) / len(NAMES) and effect >= rule.min_effect
        signals.append(Signal(name, p, effect, against, drifted))
    return tuple(signals)


def most_drifted(
    references: Mapping[str, ImageStatistics], window: ImageStatistics, count: int
) -> list[tuple[int, float]]:
    """Return the rows of the window that differ most from the references, and by how much, in that order."""
    difference = np.min([witness(one.embedding, window.embedding) for one in references.values()], axis=0)
    order = np.argsort(-difference, kind="stable")[:count]
    return [(int(row), float(difference[row])) for row in order]
