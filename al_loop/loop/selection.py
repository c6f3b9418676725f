"""Select images to label: picks of the strategy, a random audit sample, images unlike the labelled ones."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.random import Generator, SeedSequence, default_rng

from al_loop.core.config import Config, CycleConfig
from al_loop.core.errors import ConfigError, ModelError, WorkspaceError
from al_loop.structures.boxes import FloatArray, IntArray
from al_loop.structures.fingerprints import Fingerprints
from al_loop.structures.images import Float32Array
from al_loop.structures.picks import AUDIT_REASON, Pick
from al_loop.structures.predictions import ScoredImages
from strategies import (
    STRATEGIES,
    Calibration,
    Candidates,
    Detections,
    Ids,
    Prices,
    Strategy,
    Table,
    select_coreset,
    select_kmeans,
    without_detections,
)

# Cluster sizes of a larger pool are estimated from a sample of this size, in evenly spaced pieces.
_SAMPLE, _PIECE = 65_536, 1024
_COMPARED_PER_PICK = 1000  # images among which one is explored
_SPREAD_PER_PICK = 100  # the same if there are no labelled images
_NOVEL, _SPREAD = "different from the labelled images", "no detections, different from the others without"


#: The columns of scores by which explored images may differ from labelled ones.
Novelty = Literal["embeddings", "maxima"]


@dataclass(frozen=True, eq=False)
class Context:
    """Data for strategies besides the scores; see `strategies.Candidates`.

    partly: candidates that the model may have learnt in part, as single boxes of them were verified.
    novelty: what is compared of explored and labelled images.
    compared: (l, d) that of labelled images, from which explored ones differ. None for a cycle of an older
        al-loop, which explored images without detections.
    fingerprints: of the candidates. None: picks may be near-duplicates.
    """

    labelled: Float32Array | None = None
    labelled_classes: FloatArray | None = None
    augmented: tuple[ScoredImages, ...] = ()
    class_quality: FloatArray | None = None
    count_r2: float | None = None
    calibration: Calibration | None = None
    prices: Prices | None = None
    partly: Collection[str] = ()
    novelty: Novelty = "embeddings"
    compared: Float32Array | None = None
    fingerprints: Fingerprints | None = None


def novelty_of(scored: ScoredImages) -> Novelty:
    """Return what explored images are compared by: the maxima, if the scores have them."""
    return "embeddings" if scored.maxima is None else "maxima"


def compared_column(scored: ScoredImages, novelty: Novelty) -> Table:
    """Return what is compared of explored images. Raises WorkspaceError if the scores have none."""
    column = scored.embeddings if novelty == "embeddings" else scored.maxima
    if column is None:
        raise WorkspaceError(
            "the scores were written by an older al-loop than the cycle: expected maxima. Delete the folder "
            "of the model in scores/, then: al-loop cycle"
        )
    return column


def explores(settings: CycleConfig) -> bool:
    """Whether a share of k goes to images that differ from the labelled ones."""
    return settings.explore_fraction > 0 and not STRATEGIES[settings.strategy].unbiased


def check_strategy(name: str, settings: Config) -> None:
    """Raise ConfigError for a strategy that reads masks, in a workspace for boxes."""
    if "masks" in STRATEGIES[name].needs and not settings.outlined:
        raise ConfigError(
            f'the strategy "{name}" reads masks, and task = "{settings.task}" has none. Set task = '
            '"segmentation" in al-loop.toml, or choose another strategy, such as "dbal"'
        )


def pick(
    scored: ScoredImages,
    k: int,
    settings: CycleConfig,
    cycle: int,
    labelled: Collection[str] = (),
    context: Context | None = None,
) -> list[Pick]:
    """Return min(k, n) picks, the most uncertain first. The same arguments give the same picks.

    scored: the candidates.
    labelled: candidates with labels (candidates = "all").
    """
    strategy = STRATEGIES[settings.strategy]
    context = context or Context()
    candidates = _candidates(scored, strategy, context)
    rng = default_rng(SeedSequence([settings.seed, cycle]))
    k = min(k, len(candidates))
    seen = {*labelled, *context.partly}
    audited = [] if strategy.unbiased else _audit(candidates, k, settings, cycle, seen)
    explored, novelty = list[int](), None
    if explores(settings):
        novelty = _compared_with_labelled(candidates, scored, context)
        explored = _explore(candidates, k, audited, settings, cycle, rng, novelty)
    exploited = _exploit(
        candidates,
        k,
        [*audited, *explored],
        settings,
        rng,
        None if strategy.unbiased else context.fingerprints,
    )
    reasons = dict.fromkeys(audited, AUDIT_REASON)
    reasons |= dict.fromkeys(explored, f"explore: {_SPREAD if novelty is None else _NOVEL}")
    sizes = _cluster_sizes(candidates, exploited) if strategy.clusters and exploited else [0] * len(exploited)
    reasons |= {
        i: _reason(candidates, i, settings.strategy, n) for i, n in zip(exploited, sizes, strict=True)
    }
    fair = set(exploited if strategy.unbiased else audited)
    picks: list[Pick] = []
    for i in sorted(reasons, key=lambda i: (-scored.uncertainty[i], candidates.ids[i])):
        name, known = candidates.ids[i], candidates.ids[i] in labelled
        audit = i in fair and name not in seen
        picks.append(Pick(name, len(picks), float(scored.uncertainty[i]), reasons[i], known, audit))
    return picks


def _candidates(scored: ScoredImages, strategy: Strategy, context: Context) -> Candidates:
    """Return the candidates in the form that strategies read. Stored scores are finite.

    Raises ModelError for a strategy that reads masks if the model predicts boxes alone.
    """
    if "masks" in strategy.needs and scored.mask_margins is None:
        raise ModelError(
            "the strategy of this cycle reads masks, and its model predicts boxes alone, as it was trained "
            'without outlines. Set cycle.strategy = "dbal" in al-loop.toml, then: al-loop cycle --refreeze'
        )
    return Candidates(
        scored.image_ids,
        scored.uncertainty,
        scored.embeddings,
        detections_of(scored) if "detections" in strategy.needs else None,
        context.labelled,
        context.labelled_classes,
        tuple(detections_of(copy) for copy in context.augmented),
        context.class_quality,
        context.count_r2,
        context.calibration,
        context.prices,
    )


def _audit(
    candidates: Candidates, k: int, settings: CycleConfig, cycle: int, seen: Collection[str]
) -> list[int]:
    """Return the indices of the audit quota, drawn at random from the candidates that no model has seen."""
    unlabelled = np.flatnonzero(Ids.of(seen).places(candidates.names) < 0)
    count = min(round(settings.random_audit_fraction * k), len(unlabelled))
    # A separate random stream: the strategy's picks do not depend on the audit.
    rng = default_rng(SeedSequence([settings.seed, cycle, 1]))
    return [int(unlabelled[i]) for i in rng.choice(len(unlabelled), count, replace=False)] if count else []


def _explore(
    candidates: Candidates,
    k: int,
    taken: Collection[int],
    settings: CycleConfig,
    cycle: int,
    rng: Generator,
    novelty: Candidates | None,
) -> list[int]:
    """Return the indices of the explore quota: the images farthest from labelled ones and from each other.

    novelty: the candidates with what is compared. None: the quota is spread over the embeddings of images
        without detections.
    """
    quota = round(settings.explore_fraction * k)
    if novelty is None:
        size, rows, among = quota * _SPREAD_PER_PICK, without_detections(candidates), candidates
    else:
        size, rows, among = quota * _COMPARED_PER_PICK, candidates.order, novelty
    rest = np.setdiff1d(_sample(candidates, rows, size, settings, cycle), list(taken))
    count = min(quota, len(rest), k - len(taken))
    if not count:
        return []
    choose = select_kmeans if novelty is None else select_coreset
    return [int(rest[i]) for i in choose(among.subset(rest), count, rng)]


def _compared_with_labelled(
    candidates: Candidates, scored: ScoredImages, context: Context
) -> Candidates | None:
    """Return the candidates with what is compared in place of embeddings; None without labelled images."""
    if context.compared is None or not len(context.compared):
        return None
    return replace(candidates, embeddings=compared_column(scored, context.novelty), labelled=context.compared)


def _sample(candidates: Candidates, rows: IntArray, size: int, settings: CycleConfig, cycle: int) -> IntArray:
    """Return the rows, or a random sample of this size."""
    if len(rows) <= size:
        return rows
    # The random key of an image does not depend on other images: a new image changes no other draw.
    salt = int(default_rng(SeedSequence([settings.seed, cycle, 2])).integers(2**63))
    return np.sort(rows[np.argsort(candidates.names[rows].random_keys(salt), kind="stable")[:size]])


def _exploit(
    candidates: Candidates,
    k: int,
    taken: Sequence[int],
    settings: CycleConfig,
    rng: Generator,
    fingerprints: Fingerprints | None = None,
) -> list[int]:
    """Return the indices that the strategy picks for the rest of k.

    With fingerprints, of picks that are near-duplicates the first stays. The strategy then picks again among
    the candidates that are like no pick, more each time, with the picks so far as labelled images; if there
    are no such candidates, among all.
    """
    strategy = STRATEGIES[settings.strategy]
    options = {name: getattr(settings, name) for name in strategy.options}
    left, chosen = np.ones(len(candidates), dtype=bool), list(taken)
    left[chosen] = False
    open_ones, factor = left.copy(), 1
    if fingerprints is not None:
        open_ones &= ~fingerprints.near(chosen)
    while (missing := k - len(chosen)) > 0:
        rest = np.flatnonzero(open_ones if open_ones.any() else left)
        known = candidates if factor == 1 else _with_labelled(candidates, chosen)
        count = min(factor * missing, len(rest))
        new = [int(rest[i]) for i in strategy.select(known.subset(rest), count, rng, **options)]
        if fingerprints is not None and open_ones.any():
            new = fingerprints.distinct(new)[:missing]
            open_ones &= ~fingerprints.near(new)
        chosen += new[:missing]
        left[new[:missing]] = False
        factor *= 2
    return chosen[len(taken) :]


def _with_labelled(candidates: Candidates, chosen: Sequence[int]) -> Candidates:
    """Return candidates that have further labelled images, if the strategy reads these."""
    if candidates.labelled is None:
        return candidates
    picked = np.asarray(candidates.embeddings[list(chosen)], candidates.labelled.dtype)
    return replace(candidates, labelled=np.concatenate([candidates.labelled, picked]))


def _cluster_sizes(candidates: Candidates, chosen: Sequence[int]) -> list[int]:
    """Return the number of candidates nearest to each pick, estimated for more than _SAMPLE candidates."""
    from sklearn.metrics import pairwise_distances_argmin

    n = len(candidates)
    sample = np.arange(n)
    if n > _SAMPLE:  # in contiguous pieces, because a disk is read in pages
        starts = np.linspace(0, n - _PIECE, _SAMPLE // _PIECE).astype(np.int64)
        sample = (starts[:, None] + np.arange(_PIECE)).ravel()
    points, centres = (candidates.embeddings[rows].astype(np.float32) for rows in (sample, list(chosen)))
    sizes = np.bincount(pairwise_distances_argmin(points, centres), minlength=len(centres))
    return [max(1, round(size)) for size in (sizes * (n / len(sample))).tolist()]


def detections_of(scored: ScoredImages) -> Detections:
    """Convert the detections of scored images to the form that strategies read."""
    return Detections(
        scored.offsets,
        scored.distributions,
        scored.labels,
        scored.scores,
        scored.xyxy,
        scored.features,
        scored.mask_margins,
    )


def _reason(candidates: Candidates, index: int, name: str, cluster_size: int) -> str:
    """Return the reason for a pick of the strategy `name`. cluster_size: 0 without clusters."""
    strategy, uncertainty = STRATEGIES[name], candidates.uncertainty[index]
    parts = [f"{name}: {strategy.reason}"] if strategy.reason else []
    if not strategy.unbiased:
        rank = int((candidates.uncertainty > uncertainty).sum()) + 1
        parts.append(f"uncertainty {uncertainty:.2f}, rank {rank} of {len(candidates)}")
    if cluster_size:
        about = "about " if len(candidates) > _SAMPLE else ""
        parts.append(f"stands for {about}{cluster_size} image{'' if cluster_size == 1 else 's'} like it")
    return "; ".join(parts)
