"""Images and labels of a workspace."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from al_loop.core.errors import DataError, WorkspaceError
from al_loop.core.files import json_hash, write_atomically
from al_loop.images.object_cache import local_copy
from al_loop.images.sources import is_url
from al_loop.state.database import image_table, label_table
from al_loop.state.database.image_table import ImageRow
from al_loop.state.database.label_table import LabelledRow
from al_loop.state.workspace import Workspace
from al_loop.structures.boxes import Boxes
from al_loop.structures.images import ImageFile, LabelledImage
from al_loop.structures.metrics import VALIDATION


def unlabelled(workspace: Workspace) -> list[ImageFile]:
    """Return the pool's images that are neither labelled nor skipped, by id."""
    return images_by_id(workspace, list(unlabelled_ids(workspace)))


def unlabelled_ids(workspace: Workspace) -> Iterator[str]:
    """Yield the ids of `unlabelled`."""
    return image_table.unlabelled_ids(workspace.store)


def unlabelled_count(workspace: Workspace) -> int:
    """Return the number of images of `unlabelled`."""
    return image_table.pool_size(workspace.store) - sum(label_table.status_counts(workspace.store).values())


def labelled(workspace: Workspace, *, outlines: bool = False) -> list[LabelledImage]:
    """Return the labelled images of the pool by id, including empty images.

    outlines: read outlines, too. In a segmentation workspace they are always read.
    """
    rows = label_table.labelled_images(workspace.store, outlines=outlines or workspace.config.outlined)
    return [_labelled(workspace, row) for row in rows]


def with_outlines(workspace: Workspace, images: Sequence[LabelledImage]) -> list[LabelledImage]:
    """Return images of the pool with the outlines that people have drawn of these boxes.

    For a training on boxes, whose snapshot of the labels has no outlines.
    """
    drawn = {item.image.id: item for item in labelled(workspace, outlines=True) if item.boxes.outlines}
    return [
        replace(item, boxes=drawn[item.image.id].boxes)
        if item.image.id in drawn and snapshot([drawn[item.image.id]]) == snapshot([item])
        else item
        for item in images
    ]


def validation(workspace: Workspace, name: str = VALIDATION) -> list[LabelledImage]:
    """Return the validation set or another evaluation set. Raises DataError if it does not exist."""
    rows = label_table.images_of_set(workspace.store, name, outlines=workspace.config.outlined)
    if not rows and name == VALIDATION:
        raise DataError(
            "no validation set to evaluate models on. Add one: al-loop pool add-val COCO.json. Or have "
            "random images of the pool labelled for it: al-loop cycle"
        )
    if not rows:
        names = ", ".join(label_table.set_names(workspace.store)) or "none"
        raise DataError(
            f"no evaluation set {name!r}; existing sets: {names}. "
            f"Add it: al-loop pool add-val COCO.json --name {shlex.quote(name)}"
        )
    return [_labelled(workspace, row) for row in rows]


@dataclass(frozen=True, eq=False)
class KnownLabel:
    """The current label of an image. status: 'labelled', 'empty' or 'skipped'."""

    image_id: str
    status: str
    boxes: Boxes
    ignored: Boxes
    cycle: int | None
    annotator: str | None
    in_set: bool

    def __str__(self) -> str:
        """Describe the label and its origin."""
        what = f"has {len(self.boxes)} boxes" if self.status == "labelled" else f"is {self.status}"
        if self.cycle is None and self.annotator is None:
            return f"{what} in an evaluation set" if self.in_set else f"{what} already"
        if self.cycle is None:
            return f"{what} from {self.annotator}"
        by = f" by {self.annotator}" if self.annotator else ""
        return f"{what}{by}" + (f" in cycle {self.cycle}" if self.cycle is not None else "")


def labels_of(workspace: Workspace, ids: Sequence[str]) -> list[KnownLabel]:
    """Return the labels of the images that have one, skipped ones included."""
    return [
        KnownLabel(
            row.image_id,
            row.status,
            boxes_from_json(row.boxes, row.outlines if workspace.config.outlined else None),
            boxes_from_json(row.ignored or "[]"),
            row.cycle,
            row.annotator,
            row.role == "validation",
        )
        for row in label_table.find_labels(workspace.store, ids)
    ]


def images_by_id(workspace: Workspace, ids: Sequence[str]) -> list[ImageFile]:
    """Return the images with these ids, in that order."""
    rows = {row.id: row for row in image_table.find_images(workspace.store, ids)}
    return [image_file(workspace, rows[name]) for name in ids]


def keep(workspace: Workspace, ids: Sequence[str]) -> dict[str, str]:
    """Copy images of an object store into the workspace. Return the reasons for failures, by id."""
    failed: dict[str, str] = {}
    for image in images_by_id(workspace, ids):
        if image.url is None:
            continue
        try:
            data = local_copy(image).read_bytes()
        except DataError as error:
            failed[image.id] = str(error)
            continue
        file = f"images/{image.id[:2]}/{image.path.name}"
        (workspace.root / file).parent.mkdir(parents=True, exist_ok=True)
        write_atomically(workspace.root / file, data)
        image_table.set_image_file(workspace.store, image.id, file)
    return failed


def source_names(workspace: Workspace, ids: Sequence[str]) -> dict[str, str]:
    """Return the names of the source files, by id."""
    return {row.id: Path(row.source).name for row in image_table.find_images(workspace.store, ids)}


def labels_hash(images: Sequence[LabelledImage], *, outlines: bool = False) -> str:
    """Hash a labelled set: its images and every box. outlines: also every outline."""
    return json_hash(snapshot(images, outlines=outlines))


def snapshot(images: Sequence[LabelledImage], *, outlines: bool = False) -> list[list[Any]]:
    """Convert a labelled set to plain data: [id, boxes [x1, y1, x2, y2] in px, class indices] per image.

    Boxes and classes of ignore regions follow, if there are any. With `outlines`, {"outlines": [one for each
    box, or null]} comes last, if there is an outline.
    """

    def plain(boxes: Boxes) -> list[Any]:
        return [boxes.xyxy.tolist(), boxes.labels.tolist()]

    def drawn(boxes: Boxes) -> list[Any]:
        return [{"outlines": list(boxes.outlines)}] if outlines and boxes.outlines else []

    return [
        [i.image.id, *plain(i.boxes), *(plain(i.ignored) if len(i.ignored) else []), *drawn(i.boxes)]
        for i in images
    ]


def from_snapshot(workspace: Workspace, data: Sequence[Sequence[Any]]) -> list[LabelledImage]:
    """Convert `snapshot` data to a labelled set, without images that have left the pool."""
    rows = image_table.find_images(workspace.store, [item[0] for item in data], in_pool=True)
    images = {row.id: image_file(workspace, row) for row in rows}
    return [_from_snapshot(images[name], rest) for name, *rest in data if name in images]


def has_outlines(data: Sequence[Sequence[Any]]) -> bool:
    """Whether `snapshot` data have outlines."""
    return any(isinstance(item[-1], dict) for item in data)


def _from_snapshot(image: ImageFile, parts: list[Any]) -> LabelledImage:
    outlines = parts.pop()["outlines"] if isinstance(parts[-1], dict) else None
    boxes, *ignored = (_boxes(*parts[at : at + 2]) for at in range(0, len(parts), 2))
    if outlines is not None:
        boxes = replace(boxes, outlines=tuple(outlines))
    return LabelledImage(image, boxes, *ignored)


def _boxes(xyxy: Sequence[Sequence[float]], labels: Sequence[int]) -> Boxes:
    return Boxes(np.asarray(xyxy, np.float64).reshape(-1, 4), np.asarray(labels, np.int64))


def boxes_to_json(boxes: Boxes) -> str:
    """Convert boxes to the JSON of the database."""
    rows = zip(boxes.xyxy.tolist(), boxes.labels.tolist(), strict=True)
    return json.dumps([[*box, label] for box, label in rows])


def outlines_to_json(boxes: Boxes) -> str | None:
    """Convert outlines to the JSON of the database. None without outlines."""
    return None if boxes.outlines is None else json.dumps(boxes.outlines)


def boxes_from_json(text: str, outlines: str | None = None) -> Boxes:
    """Convert JSON of the database to boxes. Raises WorkspaceError if it is damaged."""
    try:
        rows = np.asarray(json.loads(text), dtype=np.float64).reshape(-1, 5)
        drawn = None if outlines is None else tuple(json.loads(outlines))
        return Boxes(rows[:, :4].copy(), rows[:, 4].astype(np.int64), outlines=drawn)
    except (ValueError, TypeError, RecursionError) as error:
        raise WorkspaceError(
            f"al-loop.db: the boxes of a label are damaged ({error}). See which: al-loop doctor"
        ) from None


def _labelled(workspace: Workspace, row: LabelledRow) -> LabelledImage:
    boxes = boxes_from_json(row.boxes, row.outlines)
    return LabelledImage(image_file(workspace, row), boxes, boxes_from_json(row.ignored or "[]"))


def image_file(workspace: Workspace, row: ImageRow | LabelledRow) -> ImageFile:
    """Return the file of an image: in the workspace, or in the cache for an object store."""
    if is_url(row.file):
        suffix = PurePosixPath(urlsplit(row.file).path).suffix.lower()
        path = workspace.cache / row.id[:2] / f"{row.id}{suffix}"
        return ImageFile(row.id, path, row.width, row.height, row.file, sha256=row.id)
    return ImageFile(row.id, workspace.root / row.file, row.width, row.height, sha256=row.stored_sha256)
