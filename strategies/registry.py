"""Every strategy by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from numpy.random import Generator

from strategies.candidates import Candidates, CandidatesError, IntArray
from strategies.dbal import select_dbal
from strategies.margin import select_margin
from strategies.random import select_random

Strategy = Callable[..., IntArray]

STRATEGIES: Mapping[str, Strategy] = MappingProxyType(
    {
        "dbal": select_dbal,
        "margin": select_margin,
        "random": select_random,
    }
)


def select(name: str, candidates: Candidates, k: int, rng: Generator, **options: float) -> IntArray:
    """Return min(k, n) distinct indices into `candidates`, chosen by the strategy called `name`."""
    if name not in STRATEGIES:
        raise CandidatesError(f"unknown strategy {name!r}; there are {', '.join(STRATEGIES)}")
    if k <= 0:
        raise CandidatesError(f"k must be >= 1, got {k}")
    return STRATEGIES[name](candidates, min(k, len(candidates)), rng, **options)
