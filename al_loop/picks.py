"""Which images people label next: the strategy's picks, and a quota for what the model is silent about."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator, SeedSequence, default_rng

from al_loop.config import CycleConfig
from al_loop.shards import ScoredImages
from strategies import Candidates, margin_sum, select, select_diverse, silent


@dataclass(frozen=True)
class Pick:
    """One chosen image: where it stands in the queue (rank, from 0) and why it was chosen."""

    image_id: str
    rank: int
    uncertainty: float
    reason: str
    known: bool = False  # labelled before: it costs no label and is not pushed


def pick(
    scored: ScoredImages, k: int, settings: CycleConfig, cycle: int, known: Collection[str] = ()
) -> list[Pick]:
    """Return min(k, n) picks, in the order in which people should see them.

    scored: the candidates.  known: those of them that have labels already (candidates = "all").
    The same scores, settings and cycle give the same picks.
    """
    uncertainty = margin_sum(scored.distributions.astype(np.float64), scored.offsets)
    candidates = Candidates(scored.image_ids, uncertainty, scored.embeddings.astype(np.float64))
    rng = default_rng(SeedSequence([settings.seed, cycle]))
    k = min(k, len(candidates))
    explored = _explore(candidates, k, settings, rng)
    chosen = [(i, "explore: the model sees nothing here; unlike the others") for i in explored]
    chosen += [
        (i, _reason(candidates, i, settings)) for i in _exploit(candidates, k, explored, settings, rng)
    ]
    chosen.sort(key=lambda item: (-uncertainty[item[0]], candidates.ids[item[0]]))
    return [
        Pick(candidates.ids[i], rank, float(uncertainty[i]), reason, candidates.ids[i] in known)
        for rank, (i, reason) in enumerate(chosen)
    ]


def _explore(candidates: Candidates, k: int, settings: CycleConfig, rng: Generator) -> list[int]:
    """Return the indices of the explore quota; random sampling has none, it is unbiased as it is."""
    quiet = silent(candidates)
    count = min(round(settings.explore * k), len(quiet))
    if count == 0 or settings.strategy == "random":
        return []
    return [int(quiet[i]) for i in select_diverse(_subset(candidates, quiet), count, rng)]


def _exploit(
    candidates: Candidates, k: int, explored: Collection[int], settings: CycleConfig, rng: Generator
) -> list[int]:
    """Return the indices that the strategy picks for the rest of k."""
    rest = np.setdiff1d(np.arange(len(candidates)), np.asarray(sorted(explored), dtype=np.int64))
    if k == len(explored):
        return []
    options = {"beta": settings.beta} if settings.strategy == "dbal" else {}
    chosen = select(settings.strategy, _subset(candidates, rest), k - len(explored), rng, **options)
    return [int(rest[i]) for i in chosen]


def _subset(candidates: Candidates, indices: np.ndarray) -> Candidates:  # type: ignore[type-arg]
    return Candidates(
        tuple(candidates.ids[i] for i in indices),
        candidates.uncertainty[indices],
        candidates.embeddings[indices],
    )


def _reason(candidates: Candidates, index: int, settings: CycleConfig) -> str:
    """Say in one line why the strategy took an image."""
    if settings.strategy == "random":
        return "random: drawn from the pool"
    own = candidates.uncertainty[index]
    place = int((candidates.uncertainty > own).sum()) + 1
    why = f"uncertainty {own:.2f}, rank {place} of {len(candidates)}"
    return f"{why}; stands for its cluster" if settings.strategy == "dbal" else why
