"""Without a validation set, a cycle draws one at random from the pool and has it labelled."""

from __future__ import annotations

import json
from collections.abc import Collection

import numpy as np
from numpy.random import SeedSequence, default_rng

from al_loop.core.config import CycleConfig
from al_loop.core.console import Reporter
from al_loop.core.errors import DataError
from al_loop.images import repository
from al_loop.images.labelled_sets import count_phrase
from al_loop.state.database.image_table import set_image_role
from al_loop.state.database.label_table import add_to_set, classes_in_set, set_counts, set_size
from al_loop.state.database.pick_table import labelled_validation_picks
from al_loop.state.workspace import Workspace
from al_loop.structures.boxes import IntArray
from al_loop.structures.images import total_outlines
from al_loop.structures.metrics import VALIDATION
from al_loop.structures.picks import Pick
from al_loop.structures.predictions import ScoredImages
from strategies import Ids

_SHARE = 4  # at most one of this many unlabelled images
_REASON = "validation: drawn at random, to evaluate models; no model is trained on it"
_ADD_VAL = "a labelled set: al-loop pool add-val COCO.json"


def sample_size(workspace: Workspace) -> int:
    """Return the number of images that a new cycle draws for the validation set; 0 if there is one.

    Raises DataError if the pool is too small, or if the settings allow no draw.
    """
    if set_size(workspace.store, VALIDATION):
        return 0
    wanted, pool = workspace.config.cycle.validation_images, repository.unlabelled_count(workspace)
    if not wanted:
        raise DataError(
            "no validation set, and cycle.validation_images = 0. Set it to 30, for example, or add "
            f"{_ADD_VAL}"
        )
    if pool < _SHARE:
        raise DataError(
            f"no validation set, and the pool is too small to draw one: expected {_SHARE} or more unlabelled "
            f"images, got {pool}. Add photographs: al-loop pool add PHOTOS..., or {_ADD_VAL}"
        )
    return min(wanted, pool // _SHARE)


def split_sample(
    scored: ScoredImages, count: int, settings: CycleConfig, cycle: int, labelled: Collection[str]
) -> tuple[list[Pick], ScoredImages]:
    """Draw `count` unlabelled images for the validation set. Return them, and the other images."""
    if not count:
        return [], scored
    ids = Ids.of(scored.image_ids)
    drawn = _draw(ids, count, settings, cycle, labelled)
    picks = [
        Pick(ids[int(i)], rank, float(scored.uncertainty[i]), _REASON, validation=True)
        for rank, i in enumerate(drawn)
    ]
    return picks, scored.subset(ids[np.setdiff1d(np.arange(len(ids)), drawn)])


def _draw(ids: Ids, count: int, settings: CycleConfig, cycle: int, labelled: Collection[str]) -> IntArray:
    """Return the indices of `count` random images without a label."""
    unlabelled = np.flatnonzero(Ids.of(labelled).places(ids) < 0)
    # A separate random stream: the picks of the strategy do not depend on it.
    salt = int(default_rng(SeedSequence([settings.seed, cycle, 3])).integers(2**63))
    order = np.argsort(ids[unlabelled].random_keys(salt), kind="stable")
    return np.asarray(unlabelled[order[:count]], np.int64)


def freeze_sample(workspace: Workspace, number: int, count: int, reporter: Reporter) -> None:
    """Make the labelled images of a cycle's draw the validation set. It is safe to repeat this.

    count: number of images that the cycle draws. 0: do nothing.
    Raises DataError if there is no validation set, and none of the images has a box.
    """
    if not count:
        return
    store, classes = workspace.store, workspace.config.classes
    drawn = labelled_validation_picks(store, number)
    if not set_size(store, VALIDATION) and not any(json.loads(boxes) for _, boxes in drawn):
        raise DataError(
            f"no model can be evaluated: none of the {len(drawn)} labelled images of the validation set has "
            f"a box. Label more of them, correct them in Label Studio, or add {_ADD_VAL}"
        )
    if not drawn:
        return
    with store.transaction():
        set_image_role(store, [image for image, _ in drawn], "validation")
        for image, _ in drawn:
            add_to_set(store, VALIDATION, image)
    counts = set_counts(store, VALIDATION)
    outlines = total_outlines(repository.validation(workspace)) if workspace.config.outlined else None
    phrase = count_phrase(counts.images, counts.boxes, counts.empty, counts.ignored, outlines)
    reporter.line(f"  validation set: {phrase}. No model is trained on them")
    seen = classes_in_set(store, VALIDATION)
    if missing := [name for index, name in enumerate(classes) if index not in seen]:
        reporter.line(
            f"  warning: the validation set has no box of {', '.join(missing)}: their AP stays unknown. "
            f"Add {_ADD_VAL}"
        )
