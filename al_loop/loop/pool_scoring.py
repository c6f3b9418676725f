"""What a strategy reads of images: one forward pass each, and more where it asks for more."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from al_loop.core.console import Reporter
from al_loop.core.errors import DataError
from al_loop.core.files import printable
from al_loop.images import repository
from al_loop.loop.cycle_record import candidates
from al_loop.loop.selection import Context
from al_loop.models import model_training, scoring
from al_loop.state import model_registry
from al_loop.state.file_hashes import shards_in
from al_loop.state.model_registry import Model
from al_loop.state.score_key import ScoreKey
from al_loop.state.workspace import Workspace
from al_loop.structures.images import AUGMENTATIONS, ImageFile, LabelledImage
from strategies import MIN_COUNT_R2, STRATEGIES, Ids

if TYPE_CHECKING:
    from al_loop.detector.inference.scoring import Unreadable

#: Where scores are kept: of the images for "", of augmented copies by the name of the augmentation.
Folders = Callable[[str], Path]
_SLICE = 250_000  # images whose places and sizes are in memory: some hundred megabytes


def score_for(
    workspace: Workspace,
    model: Model,
    strategy: str,
    images: Sequence[ImageFile],
    known: Sequence[LabelledImage],
    folder: Folders,
    reporter: Reporter,
    ray: str | None = None,
) -> list[Unreadable]:
    """Score what the folders do not hold yet; return the images that could not be read.

    images: the candidates.  known: the labelled images, for strategies that keep away from them.
    ray: address of a cluster to do it on.
    """
    needs = STRATEGIES[strategy].needs
    labelled = [item.image for item in known] if "labelled" in needs else []
    with reporter.progress("score the pool") as progress:
        unreadable = scoring.score(
            workspace,
            model,
            [*images, *labelled],
            folder(""),
            progress,
            features="features" in needs,
            say=reporter.line,
            ray=ray,
        )
    for augmentation in AUGMENTATIONS if _augmented(strategy) else ():
        with reporter.progress(f"score the pool, {augmentation}") as progress:
            scoring.score(
                workspace,
                model,
                images,
                folder(augmentation),
                progress,
                augmentation=augmentation,
                say=reporter.line,
                ray=ray,
            )
    return unreadable


def score_candidates(
    workspace: Workspace,
    model: Model,
    strategy: str,
    ids: Ids,
    folder: Folders,
    reporter: Reporter,
    ray: str | None = None,
) -> list[Unreadable]:
    """Do what `score_for` does for images of the pool, so many at a time that memory does not grow with the pool."""
    folders = [
        folder(augmentation)
        for augmentation in ("", *AUGMENTATIONS)
        if not augmentation or _augmented(strategy)
    ]
    missing = [shards_in(workspace, path).image_ids().places(ids) < 0 for path in folders]
    todo = ids[np.logical_or.reduce(missing)]
    known, unreadable = repository.labelled(workspace), []
    for start in range(0, max(1, len(todo)), _SLICE):
        images = repository.images_by_id(workspace, todo[start : start + _SLICE])
        unreadable += score_for(workspace, model, strategy, images, known, folder, reporter, ray)
    return unreadable


def _augmented(strategy: str) -> bool:
    return "augmented" in STRATEGIES[strategy].needs


def score_pool(
    workspace: Workspace, model_id: str | None, reporter: Reporter, ray: str | None = None
) -> list[Unreadable]:
    """Score what a cycle that begins now would, by the current model or another; return the images that cannot be read.

    Raises DataError where nothing is to be scored.
    """
    model = (
        model_registry.get_model(workspace, model_id) if model_id else model_registry.current_model(workspace)
    )
    pool = Ids.of(candidates(workspace))
    if not pool:
        raise DataError(
            f"nothing to score: of {repository.pool_size(workspace)} images in the pool none is unlabelled. "
            "Add photographs: al-loop pool add PHOTOS..."
        )
    folder = partial(workspace.scores_dir, ScoreKey.of(workspace.config, model.id))
    old = int((shards_in(workspace, folder("")).image_ids().places(pool) >= 0).sum())
    began = time.monotonic()
    strategy = workspace.config.cycle.strategy
    unreadable = score_candidates(workspace, model, strategy, pool, folder, reporter, ray)
    seconds = time.monotonic() - began
    failed = int((pool.places(Ids.of({item.image_id for item in unreadable})) >= 0).sum())
    new = len(pool) - old - failed
    names = repository.source_names(workspace, [item.image_id for item in unreadable])
    for item in unreadable:
        reporter.line(
            f"  left out: {printable(names.get(item.image_id, item.image_id))}: {printable(item.reason)}"
        )
    reporter.line(
        f"{len(pool)} images of the pool by {model.id}: {new} scored in {seconds:.1f} s ({new / seconds:.1f} images/s), "
        f"{old} scored before, {failed} cannot be read"
    )
    return unreadable


@dataclass(frozen=True)
class LabelSummary:
    """What strategies may know of the labels: which images have them, and how many boxes of each class.

    count_r2: how well the model counts boxes in the validation set, see `al_loop.evaluation.detection_counts`; None where it matters to no strategy.
    """

    images: tuple[str, ...]
    boxes: tuple[int, ...]
    count_r2: float | None = None


def ranking_warning(strategy: str, model_id: str, count_r2: float | None) -> str | None:
    """Return a warning where a strategy ranks images by the boxes of a model that predicts counts badly, else None."""
    if STRATEGIES[strategy].values is None or count_r2 is None or count_r2 >= MIN_COUNT_R2:
        return None
    return (
        f"note: {model_id} explains {count_r2:.0%} of the variance of the number of boxes per validation image. "
        f'Below {MIN_COUNT_R2:.0%}, "{strategy}" may do worse than random; consider cycle.strategy = "typiclust"'
    )


def summarise_labels(
    labelled: Sequence[LabelledImage], classes: int, count_r2: float | None = None
) -> LabelSummary:
    """What labels say to a strategy."""
    counts = np.zeros(classes, np.int64)
    for item in labelled:
        np.add.at(counts, item.boxes.labels, 1)
    return LabelSummary(tuple(item.image.id for item in labelled), tuple(counts.tolist()), count_r2)


def context_for(
    workspace: Workspace,
    model: Model,
    strategy: str,
    ids: Sequence[str],
    known: LabelSummary,
    folder: Folders,
) -> Context:
    """What the strategy reads besides the scores of the candidates, `ids`; after `score_for`."""
    needs = STRATEGIES[strategy].needs
    labelled = None
    if "labelled" in needs:
        labelled = np.asarray(shards_in(workspace, folder("")).load(known.images).embeddings, np.float32)
    copies = AUGMENTATIONS if _augmented(strategy) else ()
    quality = model_training.class_quality(workspace, model)
    return Context(
        labelled,
        np.asarray(known.boxes, np.float64),
        tuple(shards_in(workspace, folder(augmentation)).load().subset(ids) for augmentation in copies),
        None if quality is None else np.asarray(quality),
        known.count_r2,
    )
