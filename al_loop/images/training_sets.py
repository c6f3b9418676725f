"""Labelled images for pretraining: rendered sets and COCO files, without evaluation images."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from al_loop.core.console import Progress, Reporter
from al_loop.core.errors import DataError
from al_loop.core.files import file_sha256, write_atomically
from al_loop.images.coco import Problem, listed, read_coco
from al_loop.images.identity import hash_known, judged_sizes, same_bytes, same_pixels
from al_loop.images.ingest import PreparedImage, conversion_lines
from al_loop.images.labelled_sets import (
    CheckedImage,
    checked_images,
    count_phrase,
    deduplicate,
    empty_warning,
)
from al_loop.images.repository import is_judged
from al_loop.state.database.dataset_table import all_datasets
from al_loop.state.workspace import Workspace
from al_loop.structures.images import ImageFile, LabelledImage, total_boxes, total_regions

#: Folder of the workspace for upright copies of files that the trainer cannot read.
_UPRIGHT = "training-images"


@dataclass(frozen=True, eq=False)
class _TrainingImage:
    """A checked image, and the file that the trainer reads."""

    item: CheckedImage
    image: ImageFile


def synthetic_images(workspace: Workspace, reporter: Reporter) -> list[LabelledImage]:
    """Return all rendered images; DataError where there are none, or a class has no example.

    They are hashed, not decoded: each was written whole, with its record.
    """
    names = [row.name for row in all_datasets(workspace.store)]
    if not names:
        raise DataError("no rendered images to pretrain on. Render some: al-loop render RECIPE --count 400")
    files = [workspace.synthetic / name / "annotations.json" for name in names]
    return _training_set(workspace, files, reporter, decode=False)


def labelled_files(workspace: Workspace, files: Sequence[Path], reporter: Reporter) -> list[LabelledImage]:
    """Return the images of COCO files, each once; report what is left out and why.

    Left out: what cannot be used, and images that models are judged on, by their bytes, their pixels or
    their `image_sha256`. Files that are turned by an EXIF tag, or that a trainer cannot read, are copied
    upright into the workspace.
    Raises DataError when a class of the workspace has no example, or models are judged on all images of a
    file.
    """
    return _training_set(workspace, files, reporter, decode=True)


def _training_set(
    workspace: Workspace, files: Sequence[Path], reporter: Reporter, *, decode: bool
) -> list[LabelledImage]:
    items: list[_TrainingImage] = []
    for file in files:
        with reporter.progress(f"read {file.parent.name}/{file.name}") as progress:
            items += _read(workspace, file, reporter, progress, decode=decode)
    refused: list[tuple[str, str]] = []
    problems: list[str] = []
    indices = deduplicate(
        [entry.item for entry in items], [entry.item.picture for entry in items], refused, problems
    )
    _say(reporter, "copies of one picture", [*problems, *(Problem(where, why) for where, why in refused)])
    images = [
        LabelledImage(items[place].image, items[place].item.boxes, items[place].item.ignored)
        for place in sorted(indices)
    ]
    _refuse_without_classes(workspace, images)
    empty = sum(not len(item.boxes) for item in images)
    counts = count_phrase(len(images), total_boxes(images), empty, total_regions(images))
    reporter.line(f"images to pretrain on: {counts}")
    if warning := empty_warning(len(images), empty):
        reporter.line(warning)
    return images


def _read(
    workspace: Workspace, file: Path, reporter: Reporter, progress: Progress, *, decode: bool
) -> list[_TrainingImage]:
    coco_set = read_coco(file, workspace.config.classes)
    if decode:
        sizes = {(item.width, item.height) for item in coco_set.images}
        hash_known(workspace, sizes & judged_sizes(workspace), judged=True)
    refused: list[tuple[str, str]] = []
    learnt, left_out = [], 0
    for item in checked_images(coco_set, file, refused, progress, decode=decode):
        if _is_judged(workspace, item):
            left_out += 1
            continue
        path = item.path if item.prepared.untouched else _prepared_copy(workspace, item.prepared)
        image = ImageFile(item.prepared.id, path, item.prepared.width, item.prepared.height)
        learnt.append(_TrainingImage(item.without_data, image))
    for line in conversion_lines(Counter(note for entry in learnt for note in entry.item.prepared.notes)):
        reporter.line(f"{file.name}: {line}")
    _say(reporter, str(file), [*coco_set.problems, *(Problem(where, why) for where, why in refused)])
    if left_out and not learnt:
        raise DataError(
            f"{file}: models are judged on all {left_out} images of it that can be used, and never trained "
            "on them. Name a file of other images: al-loop pretrain --data COCO.json"
        )
    if left_out:
        reporter.line(f"{file}: {left_out} images left out: models are judged on them")
    return learnt


def _is_judged(workspace: Workspace, item: CheckedImage) -> bool:
    """Whether an image, or the one that its `image_sha256` names, is in a set for evaluation."""
    prepared = item.prepared
    stored = prepared.id if prepared.untouched else hashlib.sha256(prepared.data).hexdigest()
    known = same_bytes(workspace, prepared.id, stored)
    if any(name is not None and is_judged(workspace, name) for name in (known, item.claimed)):
        return True
    return bool(item.hashes) and bool(same_pixels(workspace, item.hashes, judged=True))


def _prepared_copy(workspace: Workspace, prepared: PreparedImage) -> Path:
    """Return the file of an upright copy, named by its hash; write it unless it exists unchanged."""
    digest = hashlib.sha256(prepared.data).hexdigest()
    path = workspace.root / _UPRIGHT / digest[:2] / f"{digest}{prepared.suffix}"
    if not path.is_file() or file_sha256(path) != digest:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, prepared.data)
    return path


def _say(reporter: Reporter, where: str, problems: Sequence[str]) -> None:
    if problems:
        reporter.line(listed(problems, where).rstrip("\n"))


def _refuse_without_classes(workspace: Workspace, images: Sequence[LabelledImage]) -> None:
    seen = {int(label) for item in images for label in item.boxes.labels}
    missing = [name for i, name in enumerate(workspace.config.classes) if i not in seen]
    if missing:
        raise DataError(
            f"the images to pretrain on show no {', '.join(missing)}: expected every class of the workspace "
            f"({', '.join(workspace.config.classes)}). Render or add more, or correct the categories' names."
        )
