"""Every strategy by name, and what it needs to be told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Literal

from numpy.random import Generator

from strategies.badge import select_badge
from strategies.cald import select_cald
from strategies.candidates import Candidates, CandidatesError
from strategies.clusters import select_kmeans, select_typiclust
from strategies.coreset import select_coreset
from strategies.coverage import select_coverage
from strategies.dbal import select_dbal
from strategies.ppal import select_ppal
from strategies.random import select_random
from strategies.rows import FloatArray, IntArray
from strategies.scores import (
    How,
    box_counts,
    by_score,
    image_scores,
    select_margin,
    select_most_boxes,
)

Need = Literal["detections", "features", "augmented", "labelled", "count_r2"]


Values = Callable[[Candidates], FloatArray]


@dataclass(frozen=True)
class Strategy:
    """A way to pick.

    needs: what of the candidates it reads besides uncertainty and embeddings.
    values: (n,) of each candidate, by which it ranks them first; None: it looks at them in another way. What it picks are
    the largest k, or, of `dbal`, some of the largest beta · k.
    """

    pick: Callable[..., IntArray]
    needs: frozenset[Need] = frozenset()
    values: Values | None = None


def _strategy(pick: Callable[..., IntArray], *needs: Need, values: Values | None = None) -> Strategy:
    return Strategy(pick, frozenset(needs), values)


def _by_score(score: str, how: How) -> Strategy:
    return _strategy(by_score(score, how), "detections", values=partial(image_scores, score=score, how=how))


def _uncertainty(candidates: Candidates) -> FloatArray:
    return candidates.uncertainty


STRATEGIES: Mapping[str, Strategy] = MappingProxyType(
    {
        "badge": _strategy(select_badge, "detections", "features"),
        "cald": _strategy(select_cald, "detections", "augmented"),
        "coreset": _strategy(select_coreset, "labelled"),
        "coverage": _strategy(select_coverage, "detections", "labelled", "count_r2"),
        "dbal": _strategy(select_dbal, values=_uncertainty),
        "entropy": _by_score("entropy", "sum"),
        "entropy-max": _by_score("entropy", "max"),
        "entropy-mean": _by_score("entropy", "mean"),
        "kmeans": _strategy(select_kmeans),
        "least-confidence": _by_score("least-confidence", "sum"),
        "least-confidence-max": _by_score("least-confidence", "max"),
        "least-confidence-mean": _by_score("least-confidence", "mean"),
        "margin": _strategy(select_margin, values=_uncertainty),
        "margin-max": _by_score("margin", "max"),
        "margin-mean": _by_score("margin", "mean"),
        "most-boxes": _strategy(select_most_boxes, "detections", values=box_counts),
        "ppal": _strategy(select_ppal, "detections", "features"),
        "random": _strategy(select_random),
        "typiclust": _strategy(select_typiclust, "labelled"),
    }
)


def select(name: str, candidates: Candidates, k: int, rng: Generator, **options: float) -> IntArray:
    """Return min(k, n) distinct indices into `candidates`, chosen by the strategy called `name`."""
    if name not in STRATEGIES:
        raise CandidatesError(f"unknown strategy {name!r}; there are {', '.join(STRATEGIES)}")
    if k <= 0:
        raise CandidatesError(f"k must be >= 1, got {k}")
    count = min(k, len(candidates))
    if count == 0:
        return candidates.order
    return STRATEGIES[name].pick(candidates, count, rng, **options)
