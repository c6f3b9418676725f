"""Every strategy by name, and what it needs to be told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from numpy.random import Generator

from strategies.badge import select_badge
from strategies.cald import select_cald
from strategies.candidates import Candidates, CandidatesError, IntArray
from strategies.clusters import select_kmeans, select_typiclust
from strategies.coreset import select_coreset
from strategies.dbal import select_dbal
from strategies.ours import select_ours
from strategies.ppal import select_ppal
from strategies.random import select_random
from strategies.scores import by_score, select_margin, select_most_boxes

Need = Literal["detections", "features", "augmented", "labelled"]


@dataclass(frozen=True)
class Strategy:
    """A way to pick. needs: what of the candidates it reads besides uncertainty and embeddings."""

    pick: Callable[..., IntArray]
    needs: frozenset[Need] = frozenset()


def _strategy(pick: Callable[..., IntArray], *needs: Need) -> Strategy:
    return Strategy(pick, frozenset(needs))


STRATEGIES: Mapping[str, Strategy] = MappingProxyType(
    {
        "badge": _strategy(select_badge, "detections", "features"),
        "cald": _strategy(select_cald, "detections", "augmented"),
        "coreset": _strategy(select_coreset, "labelled"),
        "dbal": _strategy(select_dbal),
        "entropy": _strategy(by_score("entropy", "sum"), "detections"),
        "entropy-max": _strategy(by_score("entropy", "max"), "detections"),
        "entropy-mean": _strategy(by_score("entropy", "mean"), "detections"),
        "kmeans": _strategy(select_kmeans),
        "least-confidence": _strategy(by_score("least-confidence", "sum"), "detections"),
        "least-confidence-max": _strategy(by_score("least-confidence", "max"), "detections"),
        "least-confidence-mean": _strategy(by_score("least-confidence", "mean"), "detections"),
        "margin": _strategy(select_margin),
        "margin-max": _strategy(by_score("margin", "max"), "detections"),
        "margin-mean": _strategy(by_score("margin", "mean"), "detections"),
        "most-boxes": _strategy(select_most_boxes, "detections"),
        "ours": _strategy(select_ours, "detections", "labelled"),
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
