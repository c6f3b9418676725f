"""All strategies by name: how they pick, what they read, and how they explain picks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, Literal

from numpy.random import Generator

from strategies.badge import select_badge
from strategies.cald import select_cald
from strategies.calibrated import select_calibrated
from strategies.candidates import Candidates, CandidatesError
from strategies.clusters import select_kmeans, select_typiclust
from strategies.coreset import select_coreset
from strategies.coverage import select_coverage
from strategies.dbal import select_dbal
from strategies.dropquery import select_dropquery
from strategies.ppal import select_ppal
from strategies.probcover import select_probcover
from strategies.random import select_random
from strategies.rows import FloatArray, IntArray
from strategies.scores import (
    How,
    balanced_entropies,
    box_counts,
    by_score,
    image_scores,
    mask_margin_sums,
    select_balanced_entropy,
    select_margin,
    select_mask_margin,
    select_most_boxes,
)

Need = Literal["detections", "features", "masks", "augmented", "labelled", "count_r2", "calibration"]
Values = Callable[[Candidates], FloatArray]


@dataclass(frozen=True)
class Strategy:
    """A query strategy.

    pick: (candidates, k, rng, **options) -> indices, k <= n.
    reason: why an image is picked, for people; "": for its uncertainty.
    needs: what it reads of the candidates besides uncertainty and embeddings.
    options: settings of `[cycle]` that `pick` takes by name.
    values: (n,) of the candidates, by which it ranks them; None: it does not rank.
    bf16: whether `score.precision = "auto"` may score the pool in bf16.
    clusters: whether each pick represents the candidates nearest to it.
    unbiased: whether its picks are a random sample: they need no random audit to measure the model.
    """

    pick: Callable[..., IntArray]
    reason: str
    needs: frozenset[Need] = frozenset()
    options: tuple[str, ...] = ()
    values: Values | None = None
    bf16: bool = False
    clusters: bool = False
    unbiased: bool = False

    @property
    def uses_count_r2(self) -> bool:
        """Whether it depends on how well the detector predicts object counts, as it sums over boxes."""
        return "count_r2" in self.needs or self.values is not None

    def select(self, candidates: Candidates, k: int, rng: Generator, **options: Any) -> IntArray:
        """Return min(k, n) distinct indices into candidates with finite arrays."""
        count = min(k, len(candidates))
        return self.pick(candidates, count, rng, **options) if count else candidates.order


def _by_score(score: str, how: How, reason: str) -> Strategy:
    return Strategy(
        by_score(score, how),
        reason,
        frozenset({"detections"}),
        values=partial(image_scores, score=score, how=how),
        bf16=(score, how) != ("margin", "max"),  # too many of the largest are nearly 1
    )


def _uncertainty(candidates: Candidates) -> FloatArray:
    return candidates.uncertainty


STRATEGIES: Mapping[str, Strategy] = MappingProxyType(
    {
        "badge": Strategy(
            select_badge,
            "large gradient, different from the other picks",
            needs=frozenset({"detections", "features"}),
        ),
        "cald": Strategy(
            select_cald,
            "detections change under augmentation",
            needs=frozenset({"detections", "augmented"}),
        ),
        "calibrated": Strategy(
            select_calibrated,
            "objects on which the model may be wrong, of classes and looks with few labels, for little time",
            needs=frozenset({"detections", "labelled", "calibration"}),
            options=("cost",),
        ),
        "coreset": Strategy(select_coreset, "far from all labelled images", needs=frozenset({"labelled"})),
        "coverage": Strategy(
            select_coverage,
            "uncertain objects of classes and clusters with few labels, or typical of a cluster without "
            "labels",
            needs=frozenset({"detections", "labelled", "count_r2"}),
        ),
        "dbal": Strategy(select_dbal, "", options=("beta",), values=_uncertainty, bf16=True, clusters=True),
        "dropquery": Strategy(
            select_dropquery,
            "has an object whose class changes without a part of its features",
            needs=frozenset({"detections", "features"}),
        ),
        "entropy": _by_score("entropy", "sum", "largest sum of entropies of its boxes"),
        "entropy-balanced": Strategy(
            select_balanced_entropy,
            "largest sum of entropies of its boxes, rare classes first",
            frozenset({"detections"}),
            values=balanced_entropies,
        ),
        "entropy-max": _by_score("entropy", "max", "box of the largest entropy"),
        "entropy-mean": _by_score("entropy", "mean", "largest mean entropy of its boxes"),
        "kmeans": Strategy(select_kmeans, "nearest to the centre of its cluster"),
        "least-confidence": _by_score("least-confidence", "sum", "largest sum of 1 - p over its boxes"),
        "least-confidence-max": _by_score("least-confidence", "max", "box of the least confidence"),
        "least-confidence-mean": _by_score("least-confidence", "mean", "least mean confidence of its boxes"),
        "margin": Strategy(select_margin, "", values=_uncertainty, bf16=True),
        "margin-max": _by_score("margin", "max", "box of the smallest margin"),
        "margin-mean": _by_score("margin", "mean", "smallest mean margin of its boxes"),
        "mask-margin": Strategy(
            select_mask_margin,
            "largest sum of margins of its masks",
            needs=frozenset({"detections", "masks"}),
            values=mask_margin_sums,
        ),
        "most-boxes": Strategy(
            select_most_boxes, "most boxes", frozenset({"detections"}), values=box_counts, bf16=True
        ),
        "ppal": Strategy(
            select_ppal,
            "difficult, and different from the other picks",
            needs=frozenset({"detections", "features"}),
        ),
        "probcover": Strategy(
            select_probcover, "like the most others that no label covers", needs=frozenset({"labelled"})
        ),
        "random": Strategy(select_random, "drawn at random from the pool", bf16=True, unbiased=True),
        "typiclust": Strategy(
            select_typiclust, "typical of a cluster without labels", needs=frozenset({"labelled"})
        ),
    }
)


def select(name: str, candidates: Candidates, k: int, rng: Generator, **options: Any) -> IntArray:
    """Return min(k, n) distinct indices into `candidates`, chosen by the strategy called `name`.

    Raises CandidatesError for an unknown name, for k below 1, and for candidates that are not finite.
    """
    if name not in STRATEGIES:
        raise CandidatesError(f"unknown strategy {name!r}; there are {', '.join(STRATEGIES)}")
    if k <= 0:
        raise CandidatesError(f"k must be >= 1, got {k}")
    candidates.check_finite()
    return STRATEGIES[name].select(candidates, k, rng, **options)
