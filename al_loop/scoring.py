"""What a strategy reads of images: one forward pass each, and more where it asks for more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from al_loop import modelling
from al_loop.console import Reporter
from al_loop.models import Model
from al_loop.picks import Context
from al_loop.samples import CHANGES, ImageFile, LabelledImage
from al_loop.shards import ShardStore
from al_loop.workspace import Workspace
from strategies import STRATEGIES

if TYPE_CHECKING:
    from al_loop.detector.score import Unreadable

#: Where scores are kept: of the images for "", of their changed copies by the change's name.
Folders = Callable[[str], Path]


def score_for(
    workspace: Workspace,
    model: Model,
    strategy: str,
    images: Sequence[ImageFile],
    known: Sequence[LabelledImage],
    folder: Folders,
    reporter: Reporter,
) -> list[Unreadable]:
    """Score what the folders do not hold yet; return the images that could not be read.

    images: the candidates.  known: the labelled images, for strategies that keep away from them.
    """
    needs = STRATEGIES[strategy].needs
    labelled = [item.image for item in known] if "labelled" in needs else []
    with reporter.progress("score the pool") as progress:
        unreadable = modelling.score(
            workspace, model, [*images, *labelled], folder(""), progress, features="features" in needs
        )
    for change in CHANGES if "augmented" in needs else ():
        with reporter.progress(f"score the pool, {change}") as progress:
            modelling.score(workspace, model, images, folder(change), progress, change=change)
    return unreadable


@dataclass(frozen=True)
class Known:
    """What strategies may know of the labels: which images have them, and how many boxes of each class."""

    images: tuple[str, ...]
    boxes: tuple[int, ...]


def known_of(labelled: Sequence[LabelledImage], classes: int) -> Known:
    """What labels say to a strategy."""
    counts = np.zeros(classes, np.int64)
    for item in labelled:
        np.add.at(counts, item.boxes.labels, 1)
    return Known(tuple(item.image.id for item in labelled), tuple(counts.tolist()))


def context_for(
    workspace: Workspace, model: Model, strategy: str, ids: Sequence[str], known: Known, folder: Folders
) -> Context:
    """What the strategy reads besides the scores of the candidates, `ids`; after `score_for`."""
    needs = STRATEGIES[strategy].needs
    labelled = None
    if "labelled" in needs:
        labelled = np.asarray(ShardStore(folder("")).load(known.images).embeddings, np.float32)
    copies = CHANGES if "augmented" in needs else ()
    quality = modelling.training_notes(model).get("class_quality")
    return Context(
        labelled,
        np.asarray(known.boxes, np.float64),
        tuple(ShardStore(folder(change)).load().subset(ids) for change in copies),
        None if quality is None else np.asarray(quality),
    )
