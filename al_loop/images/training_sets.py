"""Labelled images for pretraining: rendered sets, COCO files and labels of the pool, no evaluation images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from al_loop.core.console import Reporter
from al_loop.core.errors import DataError
from al_loop.core.files import file_sha256, write_atomically
from al_loop.core.training_config import TrainConfig
from al_loop.images.coco import Problem, listed, missing_classes, read_coco
from al_loop.images.identity import hash_known
from al_loop.images.ingest import PreparedImage, conversion_lines
from al_loop.images.labelled_sets import (
    CheckedImage,
    checked_images,
    count_phrase,
    deduplicate,
    empty_warning,
)
from al_loop.images.object_cache import changed_files
from al_loop.images.repository import labelled
from al_loop.state.database.dataset_table import all_datasets
from al_loop.state.database.image_table import find_by_bytes, image_role, validation_sizes
from al_loop.state.database.pixel_table import images_with_pixels
from al_loop.state.workspace import Workspace
from al_loop.structures.images import ImageFile, LabelledImage, total_boxes, total_outlines, total_regions

#: Folder of the workspace for upright copies of files that the trainer cannot read.
_UPRIGHT = "training-images"


@dataclass(frozen=True)
class PretrainingSet:
    """Images to pretrain on. own: labelled images of the pool. others: rendered images, or those of files."""

    own: list[LabelledImage]
    others: list[LabelledImage]

    @property
    def images(self) -> list[LabelledImage]:
        """All images."""
        return [*self.others, *self.own]


def pretraining_set(workspace: Workspace, data: Sequence[Path], reporter: Reporter) -> PretrainingSet:
    """Return the labelled images of the pool, and all rendered images, or in their place those of COCO files.

    The label of the pool is used for an image that both have.
    Raises DataError if there are none, or if no image has a box.
    """
    own, files = labelled(workspace, outlines=True), [*data] or _rendered_files(workspace)
    if not files and not own:
        raise DataError(
            "no images to pretrain on. Render some: al-loop render RECIPE --count 400. "
            "Or add labelled photographs: al-loop pool add-labelled COCO.json"
        )
    images = _training_set(workspace, files, reporter, decode=bool(data)) if files else []
    known = {item.image.id for item in own}
    found = PretrainingSet(own, [item for item in images if item.image.id not in known])
    _report_set(workspace, found.images, reporter, files=found.others)
    return found


def synthetic_images(workspace: Workspace, reporter: Reporter) -> list[LabelledImage]:
    """Return all rendered images. Raises DataError if there are none, or if no image has a box.

    The images are hashed but not decoded, because a render leaves no incomplete files.
    """
    files = _rendered_files(workspace)
    if not files:
        raise DataError("no rendered images to pretrain on. Render some: al-loop render RECIPE --count 400")
    images = _training_set(workspace, files, reporter, decode=False)
    _report_set(workspace, images, reporter)
    return images


def rendered_beside(workspace: Workspace, settings: TrainConfig, reporter: Reporter) -> list[LabelledImage]:
    """Return the rendered images for a training on photographs. Empty if its settings use none."""
    return usable_rendered(workspace, reporter) if settings.replay else []


def usable_rendered(workspace: Workspace, reporter: Reporter) -> list[LabelledImage]:
    """Return the rendered images, if there are any.

    Report sets and images that are left out because they are missing, damaged or evaluated.
    """
    images = list[LabelledImage]()
    for file in _rendered_files(workspace):
        try:
            images += _training_set(workspace, [file], reporter, decode=False)
        except DataError as error:
            reporter.line(f"  rendered images left out: {error}")
    return images


def _rendered_files(workspace: Workspace) -> list[Path]:
    """Return the COCO files of all rendered sets."""
    return [workspace.synthetic / row.name / "annotations.json" for row in all_datasets(workspace.store)]


def labelled_files(workspace: Workspace, files: Sequence[Path], reporter: Reporter) -> list[LabelledImage]:
    """Return the distinct images of COCO files. Report images that are left out, with reasons.

    Unusable images and evaluation images are left out. Evaluation images are recognised by their bytes, their
    pixels or their `image_sha256`. Images that an EXIF tag rotates, or that a trainer cannot read, are copied
    upright into the workspace.
    Raises DataError if no image has a box, or if a file has evaluation images only.
    """
    images = _training_set(workspace, files, reporter, decode=True)
    _report_set(workspace, images, reporter)
    return images


def without_damaged(images: Sequence[LabelledImage], reporter: Reporter) -> list[LabelledImage]:
    """Return the images whose files are as they were stored. Report the others."""
    damaged = changed_files(item.image for item in images)
    for reason in damaged.values():
        reporter.line(f"  left out: {reason}")
    return [item for item in images if item.image.id not in damaged]


def _training_set(
    workspace: Workspace, files: Sequence[Path], reporter: Reporter, *, decode: bool
) -> list[LabelledImage]:
    items: list[CheckedImage] = []
    images: list[LabelledImage] = []
    for file in files:
        for item, image in _read(workspace, file, reporter, decode=decode):
            items.append(item)
            images.append(image)
    refused: list[tuple[str, str]] = []
    problems: list[str] = []
    pictures = [item.picture for item in items]
    indices = deduplicate(items, pictures, refused, problems, outlines=workspace.config.outlined)
    _report_problems(reporter, "copies of one image", problems, refused)
    return [images[index] for index in sorted(indices)]


def _report_set(
    workspace: Workspace,
    images: Sequence[LabelledImage],
    reporter: Reporter,
    *,
    files: Sequence[LabelledImage] | None = None,
) -> None:
    """Report the counts of a set and classes without a box. Raises DataError if it has no box at all.

    files: those of the images that are of files, which may hold unlabelled images. None: all.
    """
    classes = workspace.config.classes
    missing = missing_classes(images, classes)
    if len(missing) == len(classes):
        raise DataError(
            f"the images to pretrain on have no box of {', '.join(classes)}. Render or add others, or "
            "correct the names of the categories"
        )
    empty = sum(not len(item.boxes) for item in images)
    outlines = total_outlines(images) if workspace.config.outlined else None
    counts = count_phrase(len(images), total_boxes(images), empty, total_regions(images), outlines)
    reporter.line(f"images to pretrain on: {counts}")
    if missing:
        reporter.line(missing_warning(missing))
    files = images if files is None else files
    without_boxes = sum(not len(item.boxes) for item in files)
    for warning in (empty_warning(len(files), without_boxes), outline_warning(workspace, images)):
        if warning:
            reporter.line(warning)


def outline_warning(workspace: Workspace, images: Sequence[LabelledImage]) -> str | None:
    """Return a warning for a training of masks without an outline, else None."""
    if not workspace.config.outlined or total_outlines(images):
        return None
    return (
        f"warning: none of the {total_boxes(images)} boxes has an outline: the model learns no masks. "
        'Expected `segmentation` in COCO files, labels.masks = "rle" in recipes (then: al-loop render '
        "RECIPE), or outlines that people draw"
    )


def missing_warning(missing: Sequence[str]) -> str:
    """Return a warning for a training without a box of these classes."""
    return f"warning: no box of {', '.join(missing)}: the model cannot learn to find them"


def _read(
    workspace: Workspace, file: Path, reporter: Reporter, *, decode: bool
) -> list[tuple[CheckedImage, LabelledImage]]:
    coco_set = read_coco(file, workspace.config.classes, outlines=True, masks=workspace.config.outlined)
    if decode:
        sizes = {(item.width, item.height) for item in coco_set.images}
        hash_known(workspace, sizes & validation_sizes(workspace.store), validation=True)
    refused: list[tuple[str, str]] = []
    images, left_out = [], 0
    with reporter.progress(f"read {file.parent.name}/{file.name}") as progress:
        for item in checked_images(coco_set, file, refused, progress, decode=decode):
            if _is_evaluated(workspace, item):
                left_out += 1
                continue
            path = item.path if item.prepared.untouched else _upright_copy(workspace, item.prepared)
            image = ImageFile(item.prepared.id, path, item.prepared.width, item.prepared.height)
            images.append((item.without_data, LabelledImage(image, item.boxes, item.ignored)))
    for line in conversion_lines(Counter(note for item, _ in images for note in item.prepared.notes)):
        reporter.line(f"{file.name}: {line}")
    _report_problems(reporter, str(file), coco_set.problems, refused)
    if left_out and not images:
        raise DataError(
            f"{file}: all {left_out} usable images are evaluation images, and models are never "
            "trained on these. Give a file of other images: al-loop pretrain --data COCO.json"
        )
    if left_out:
        reporter.line(f"{file}: {left_out} images left out: models are evaluated on them")
    return images


def _is_evaluated(workspace: Workspace, item: CheckedImage) -> bool:
    """Whether an image, or the one that its `image_sha256` names, is in an evaluation set."""
    known = find_by_bytes(workspace.store, item.prepared.id, item.prepared.stored_sha256)
    names = [name for name in (known, item.image_sha256) if name is not None]
    if any(image_role(workspace.store, name) == "validation" for name in names):
        return True
    return bool(item.hashes) and bool(images_with_pixels(workspace.store, item.hashes, validation=True))


def _upright_copy(workspace: Workspace, prepared: PreparedImage) -> Path:
    """Return the file of an upright copy, named by its hash. Write the file unless it exists unchanged."""
    digest = prepared.stored_sha256
    path = workspace.root / _UPRIGHT / digest[:2] / f"{digest}{prepared.suffix}"
    if not path.is_file() or file_sha256(path) != digest:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, prepared.data)
    return path


def _report_problems(
    reporter: Reporter, where: str, problems: Sequence[str], refused: Sequence[tuple[str, str]]
) -> None:
    if every := [*problems, *(Problem(*entry) for entry in refused)]:
        reporter.line(listed(every, where).rstrip("\n"))
