"""Score the candidates of a selection, and the labelled images and augmented copies that strategies read."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from al_loop.core.console import Reporter
from al_loop.core.errors import DataError
from al_loop.core.files import printable
from al_loop.evaluation.model_quality import UNKNOWN, ModelQuality
from al_loop.images import repository
from al_loop.images.near_duplicates import stored_fingerprints
from al_loop.loop.cycle_record import candidates
from al_loop.loop.selection import Context, Novelty, check_strategy, compared_column, explores
from al_loop.models import model_training, scoring
from al_loop.models.scoring import ScoreOptions
from al_loop.state import model_registry
from al_loop.state.database.image_table import pool_size
from al_loop.state.file_hashes import shards_in
from al_loop.state.model_registry import Model
from al_loop.state.score_key import ScoreKey
from al_loop.state.workspace import Workspace
from al_loop.structures.images import AUGMENTATIONS, ImageFile, LabelledImage
from strategies import MIN_AUC, MIN_COUNT_R2, STRATEGIES, Calibration, Ids, Prices

if TYPE_CHECKING:
    from al_loop.detector.inference.scoring import Unreadable

_SLICE = 250_000  # images at a time: their paths and sizes take some hundred megabytes of memory
#: Labelled images from which explored images differ: a model scores them in each cycle.
_MOST_COMPARED = 1000


@dataclass(frozen=True)
class StrategyScores:
    """The scores that a strategy reads: their model and their folders.

    folder: returns the folder of scores for the name of an augmentation; "" for the original images.
    explores: whether images are explored by their distance to labelled ones.
    """

    model: Model
    strategy: str
    folder: Callable[[str], Path]
    explores: bool = False

    @property
    def needs(self) -> frozenset[str]:
        """What the strategy reads besides boxes and embeddings."""
        return STRATEGIES[self.strategy].needs

    @property
    def augmentations(self) -> tuple[str, ...]:
        """The augmented copies that the strategy reads."""
        return AUGMENTATIONS if "augmented" in self.needs else ()


def compared_images(labelled: Sequence[str]) -> list[str]:
    """Return the labelled images from which explored images differ, at most _MOST_COMPARED.

    The first by id, which is a hash: a random sample that changes little as labels are added.
    """
    return sorted(labelled)[:_MOST_COMPARED]


def score_candidates(
    workspace: Workspace,
    scores: StrategyScores,
    slices: Iterable[Sequence[ImageFile]],
    labelled: Sequence[LabelledImage],
    reporter: Reporter,
    ray: str | None = None,
) -> list[Unreadable]:
    """Score the images without scores. Return the unreadable images.

    slices: the candidates, see `unscored`.
    labelled: the labelled images, for strategies and explored images that are compared with them.
    ray: address of a cluster to score on.
    """
    known = [item.image for item in labelled] if "labelled" in scores.needs or scores.explores else []
    if "labelled" not in scores.needs:
        compared = set(compared_images([image.id for image in known]))
        known = [image for image in known if image.id in compared]
    unreadable = []
    for images in slices:
        for augmentation in ("", *scores.augmentations):
            title = f"score the pool, {augmentation}" if augmentation else "score the pool"
            wanted = images if augmentation else [*images, *known]
            options = ScoreOptions("features" in scores.needs and not augmentation, augmentation, ray=ray)
            folder = scores.folder(augmentation)
            with reporter.progress(title) as progress:
                failed = scoring.score(
                    workspace, scores.model, wanted, folder, progress, options, reporter.line
                )
            unreadable += [] if augmentation else failed
    return unreadable


def unscored(workspace: Workspace, scores: StrategyScores, ids: Ids) -> Iterator[list[ImageFile]]:
    """Yield the pool images without scores, in slices that bound the memory. Yield at least one slice."""
    folders = [scores.folder(augmentation) for augmentation in ("", *scores.augmentations)]
    missing = [shards_in(workspace, folder).image_ids().places(ids) < 0 for folder in folders]
    todo = ids[np.logical_or.reduce(missing)]
    for start in range(0, max(1, len(todo)), _SLICE):
        yield repository.images_by_id(workspace, todo[start : start + _SLICE])


def score_pool(
    workspace: Workspace, model_id: str | None, reporter: Reporter, ray: str | None = None
) -> list[Unreadable]:
    """Score the images that a cycle would score if it began now. Return the unreadable images.

    model_id: None for the current model.
    Raises DataError if there is nothing to score.
    """
    check_strategy(workspace.config.cycle.strategy, workspace.config)
    model = (
        model_registry.get_model(workspace, model_id) if model_id else model_registry.current_model(workspace)
    )
    pool = Ids.of(candidates(workspace))
    if not pool:
        raise DataError(
            f"nothing to score: all {pool_size(workspace.store)} images of the pool are labelled. "
            "Add photographs: al-loop pool add PHOTOS..."
        )
    folder = partial(workspace.scores_dir, ScoreKey.of(workspace.config, model.id))
    settings = workspace.config.cycle
    scores = StrategyScores(model, settings.strategy, folder, explores(settings))
    old = int((shards_in(workspace, folder("")).image_ids().places(pool) >= 0).sum())
    began = time.monotonic()
    slices, labelled = unscored(workspace, scores, pool), repository.labelled(workspace)
    unreadable = score_candidates(workspace, scores, slices, labelled, reporter, ray)
    seconds = time.monotonic() - began
    failed = int((pool.places(Ids.of({item.image_id for item in unreadable})) >= 0).sum())
    new = len(pool) - old - failed
    names = repository.source_names(workspace, [item.image_id for item in unreadable])
    for item in unreadable:
        name = printable(names.get(item.image_id, item.image_id))
        reporter.line(f"  left out: {name}: {printable(item.reason)}")
    reporter.line(
        f"{len(pool)} images of the pool by {model.id}: {new} scored in {seconds:.1f} s "
        f"({new / seconds:.1f} images/s), {old} scored before, {failed} cannot be read"
    )
    return unreadable


@dataclass(frozen=True)
class LabelSummary:
    """The part of the labels that strategies read: the labelled images, and the number of boxes per class.

    novelty: what is compared of explored and labelled images. None: nothing.
    partly: unlabelled images of which single boxes were verified.
    uncompared: candidates without a fingerprint, if picks may not be near-duplicates of each other; None if
        they may.
    prices: what people's answers say of the time that they need. None: the usual prices.
    count_r2, calibration: of the model on the validation set, see `al_loop.evaluation.model_quality`. None if
        the strategy does not read them.
    """

    images: tuple[str, ...]
    boxes: tuple[int, ...]
    count_r2: float | None = None
    calibration: Calibration | None = None
    prices: Prices | None = None
    novelty: Novelty | None = None
    partly: tuple[str, ...] = ()
    uncompared: tuple[str, ...] | None = None

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> LabelSummary:
        """Return a summary from its JSON form, `dataclasses.asdict`, of this version or an earlier one."""
        calibration = stored.get("calibration")
        if calibration is not None:
            calibration = Calibration(**{**calibration, "offsets": tuple(calibration["offsets"])})
        prices = None if stored.get("prices") is None else Prices(**stored["prices"])
        images, boxes = tuple(stored["images"]), tuple(stored["boxes"])
        known: Any = stored.get("novelty")
        # A bool is of a version before there were maxima.
        novelty: Novelty | None = ("embeddings" if known else None) if isinstance(known, bool) else known
        partly = tuple(stored.get("partly", ()))
        uncompared = None if stored.get("uncompared") is None else tuple(stored["uncompared"])
        return cls(
            images,
            boxes,
            stored.get("count_r2"),
            calibration,
            prices,
            novelty,
            partly,
            uncompared,
        )


def quality_warning(strategy: str, model_id: str, quality: ModelQuality) -> str | None:
    """Return a message if the model is too weak for what the strategy reads of it."""
    count_r2, calibration = quality.count_r2, quality.calibration
    if STRATEGIES[strategy].values is not None and count_r2 is not None and count_r2 < MIN_COUNT_R2:
        return (
            f"note: {model_id} explains {count_r2:.0%} of the variance of the number of boxes per validation "
            f'image. Below {MIN_COUNT_R2:.0%}, "{strategy}" may do worse than random; '
            'consider cycle.strategy = "calibrated" or "typiclust"'
        )
    if "calibration" in STRATEGIES[strategy].needs and (calibration is None or not calibration.is_useful):
        known = "cannot be told" if calibration is None else f"have an AUC of {calibration.auc:.2f}"
        return (
            f"note: right and wrong boxes of {model_id} on the validation set {known}. Below {MIN_AUC:g}, "
            f'"{strategy}" picks typical images, as "typiclust" does'
        )
    return None


def summarise_labels(
    labelled: Sequence[LabelledImage],
    classes: int,
    quality: ModelQuality = UNKNOWN,
    prices: Prices | None = None,
    *,
    novelty: Novelty | None = None,
    partly: Sequence[str] = (),
    uncompared: Sequence[str] | None = None,
) -> LabelSummary:
    """Count the labelled boxes of each class."""
    counts = np.zeros(classes, np.int64)
    for item in labelled:
        np.add.at(counts, item.boxes.labels, 1)
    images = tuple(item.image.id for item in labelled)
    return LabelSummary(
        images,
        tuple(counts.tolist()),
        quality.count_r2,
        quality.calibration,
        prices,
        novelty,
        tuple(partly),
        None if uncompared is None else tuple(uncompared),
    )


def context_for(
    workspace: Workspace, scores: StrategyScores, ids: Sequence[str], known: LabelSummary
) -> Context:
    """Return what the strategy reads besides the scores of the candidates `ids`, which must exist."""
    store, labelled, compared = shards_in(workspace, scores.folder("")), None, None
    if "labelled" in scores.needs:
        labelled = np.asarray(store.load(known.images).embeddings, np.float32)
    if known.novelty is not None:
        others = store.load(compared_images(known.images))
        compared = np.asarray(compared_column(others, known.novelty), np.float32)
    copies = (shards_in(workspace, scores.folder(name)).load().subset(ids) for name in scores.augmentations)
    quality = model_training.class_quality(workspace, scores.model)
    prints = None if known.uncompared is None else stored_fingerprints(workspace, ids)
    if prints is not None:  # some may have got one since the selection
        prints = prints.without(known.uncompared or (), ids)
    return Context(
        labelled,
        np.asarray(known.boxes, np.float64),
        tuple(copies),
        None if quality is None else np.asarray(quality),
        known.count_r2,
        known.calibration,
        known.prices,
        known.partly,
        known.novelty or "embeddings",
        compared,
        prints,
    )
