"""Which images people label next: the strategy's picks, and quotas for what is drawn by lot and what looks empty."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.random import Generator, SeedSequence, default_rng

from al_loop.core.config import CycleConfig
from al_loop.structures.boxes import FloatArray, IntArray
from al_loop.structures.images import Float32Array
from al_loop.structures.picks import Pick
from al_loop.structures.predictions import ScoredImages
from strategies import STRATEGIES, Candidates, Detections, Ids, largest, select, select_kmeans, silent

# Candidates that are asked which pick is the nearest; of more, as many, in pieces that are evenly spread.
_ASKED, _PIECE, _AT_ONCE = 65_536, 1024, 4096
# Images that show nothing which are looked at for each that is picked.
_LOTS = 100
# Where scores are rounded, so many times what DBAL clusters is looked at.
_CLOSELY = 2


@dataclass(frozen=True, eq=False)
class Context:
    """What strategies may read besides the scores; see `strategies.Candidates`."""

    labelled: Float32Array | None = None
    labelled_classes: FloatArray | None = None
    augmented: tuple[ScoredImages, ...] = ()
    class_quality: FloatArray | None = None
    count_r2: float | None = None


def pick(
    scored: ScoredImages,
    k: int,
    settings: CycleConfig,
    cycle: int,
    known: Collection[str] = (),
    context: Context | None = None,
) -> list[Pick]:
    """Return min(k, n) picks, in the order in which people should see them.

    scored: the candidates.  known: those of them that have labels already (candidates = "all").
    The same scores, settings and cycle give the same picks.
    """
    uncertainty = scored.uncertainty
    candidates = _candidates(scored, settings.strategy, context or Context())
    rng = default_rng(SeedSequence([settings.seed, cycle]))
    k = min(k, len(candidates))
    audited = _audit(candidates, k, settings, cycle, known)
    explored = _explore(candidates, k, audited, settings, cycle, rng)
    exploited = _exploit(candidates, k, [*audited, *explored], settings, rng)
    chosen = [(i, "audit: drawn by lot, to measure the model on") for i in audited]
    chosen += [(i, "explore: the model sees nothing here; unlike the others") for i in explored]
    alike = _alike(candidates, exploited) if settings.strategy == "dbal" else [0] * len(exploited)
    chosen += [(i, _reason(candidates, i, settings, n)) for i, n in zip(exploited, alike, strict=True)]
    chosen.sort(key=lambda item: (-uncertainty[item[0]], candidates.ids[item[0]]))
    fair = set(exploited if settings.strategy == "random" else audited)
    return [
        Pick(name, rank, float(uncertainty[i]), reason, name in known, i in fair and name not in known)
        for rank, (i, reason) in enumerate(chosen)
        for name in [candidates.ids[i]]
    ]


def looked_at_closely(scored: ScoredImages, k: int, settings: CycleConfig, cycle: int) -> list[str]:
    """Return the images that a selection of k may pick or compare, though the scores are rounded.

    They are twice as many of the largest values as DBAL clusters, and what looks empty as far as `pick` looks at it.
    """
    strategy = STRATEGIES[settings.strategy]
    if strategy.values is None:
        return []
    candidates = _candidates(scored, settings.strategy, Context())
    top = largest(strategy.values(candidates), candidates.rank, round(_CLOSELY * settings.beta * k))
    quiet = _quiet(candidates, round(settings.explore_fraction * k), settings, cycle)
    return list(scored.image_ids[np.union1d(top, quiet)])


def _candidates(scored: ScoredImages, strategy: str, context: Context) -> Candidates:
    looked_at = "detections" in STRATEGIES[strategy].needs
    return Candidates(
        scored.image_ids,
        scored.uncertainty,
        scored.embeddings,
        detections_of(scored) if looked_at else None,
        context.labelled,
        context.labelled_classes,
        tuple(detections_of(copy) for copy in context.augmented),
        context.class_quality,
        context.count_r2,
        checked=True,  # what is not finite was never written
    )


def _audit(
    candidates: Candidates, k: int, settings: CycleConfig, cycle: int, known: Collection[str]
) -> list[int]:
    """Return the indices of the audit quota, drawn by lot from what has no labels; random sampling is one as it is."""
    fresh = np.flatnonzero(Ids.of(known).places(candidates.names) < 0)
    count = min(round(settings.random_audit_fraction * k), len(fresh))
    if count == 0 or settings.strategy == "random":
        return []
    # A stream of its own: what the strategy picks does not depend on whether there is an audit.
    rng = default_rng(SeedSequence([settings.seed, cycle, 1]))
    return [int(fresh[i]) for i in rng.choice(len(fresh), count, replace=False)]


def _explore(
    candidates: Candidates, k: int, taken: Collection[int], settings: CycleConfig, cycle: int, rng: Generator
) -> list[int]:
    """Return the indices of the explore quota; random sampling has none, it is unbiased as it is."""
    if settings.strategy == "random":
        return []
    wanted = round(settings.explore_fraction * k)
    quiet = np.setdiff1d(
        _quiet(candidates, wanted, settings, cycle), np.asarray(sorted(taken), dtype=np.int64)
    )
    count = min(wanted, len(quiet), k - len(taken))
    if count == 0:
        return []
    return [int(quiet[i]) for i in select_kmeans(candidates.subset(quiet), count, rng)]


def _quiet(candidates: Candidates, wanted: int, settings: CycleConfig, cycle: int) -> IntArray:
    """Return the indices of images in which the model sees nothing, of many some by lot."""
    quiet = silent(candidates)
    if len(quiet) <= _LOTS * wanted:
        return quiet
    # A name's lot does not depend on the others: rounded scores, of which a few more or less are silent, draw the same.
    salt = int(default_rng(SeedSequence([settings.seed, cycle, 2])).integers(2**63))
    return np.sort(quiet[np.argsort(candidates.names[quiet].lots(salt), kind="stable")[: _LOTS * wanted]])


def _exploit(
    candidates: Candidates, k: int, taken: Collection[int], settings: CycleConfig, rng: Generator
) -> list[int]:
    """Return the indices that the strategy picks for the rest of k."""
    rest = np.setdiff1d(np.arange(len(candidates)), np.asarray(sorted(taken), dtype=np.int64))
    if k == len(taken):
        return []
    options = {"beta": settings.beta} if settings.strategy == "dbal" else {}
    chosen = select(settings.strategy, candidates.subset(rest), k - len(taken), rng, **options)
    return [int(rest[i]) for i in chosen]


def _alike(candidates: Candidates, chosen: Sequence[int]) -> list[int]:
    """Of how many candidates each chosen one is the nearest: the size of what it stands for, itself included.

    An estimate where there are more than _ASKED.
    """
    n = len(candidates)
    asked = np.arange(n)
    if n > _ASKED:  # pieces and not single rows: a disk is read in pages
        starts = np.linspace(0, n - _PIECE, _ASKED // _PIECE).astype(np.int64)
        asked = (starts[:, None] + np.arange(_PIECE)).ravel()
    centres = candidates.embeddings[list(chosen)].astype(np.float32)
    half = (centres**2).sum(axis=1) / 2
    sizes = np.zeros(len(centres))
    for start in range(0, len(asked), _AT_ONCE):
        some = candidates.embeddings[asked[start : start + _AT_ONCE]].astype(np.float32)
        sizes += np.bincount(np.argmax(some @ centres.T - half, axis=1), minlength=len(centres))
    return [max(1, round(size)) for size in (sizes * (n / len(asked))).tolist()]


def detections_of(scored: ScoredImages) -> Detections:
    """What the strategies read of scores."""
    return Detections(
        scored.offsets, scored.distributions, scored.labels, scored.scores, scored.xyxy, scored.features
    )


def _reason(candidates: Candidates, index: int, settings: CycleConfig, alike: int) -> str:
    """Say in one line why the strategy took an image."""
    name = settings.strategy
    if name == "random":
        return "random: drawn from the pool"
    own = candidates.uncertainty[index]
    place = int((candidates.uncertainty > own).sum()) + 1
    why = f"uncertainty {own:.2f}, rank {place} of {len(candidates)}"
    if name == "dbal":
        about = "about " if len(candidates) > _ASKED else ""
        return f"{why}; stands for {about}{alike} image{'' if alike == 1 else 's'} like it"
    return why if name == "margin" else f"{name}: {_WHY[name]}; {why}"


_WHY: Mapping[str, str] = MappingProxyType(
    {
        "badge": "its gradient is large and unlike those of the others",
        "cald": "what the model sees changes with the picture",
        "coreset": "far from all that is labelled",
        "entropy": "the most entropy over its boxes",
        "entropy-max": "the box of the most entropy",
        "entropy-mean": "the most entropy per box",
        "kmeans": "stands for its cluster",
        "least-confidence": "the least confidence over its boxes",
        "least-confidence-max": "the box of the least confidence",
        "least-confidence-mean": "the least confidence per box",
        "margin-max": "the box of the smallest margin",
        "margin-mean": "the smallest margin per box",
        "most-boxes": "the most boxes",
        "coverage": "unsure objects of classes and looks that labels show little of, or typical of what they do not show",
        "ppal": "hard, and unlike the others in what it shows",
        "typiclust": "typical of a cluster without labels",
    }
)
