"""Export all labels of the pool as one COCO file."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from al_loop.core.errors import DataError
from al_loop.images.coco import write_coco
from al_loop.images.pixel_maps import write_maps
from al_loop.images.repository import labelled
from al_loop.state.database.label_table import status_counts
from al_loop.state.workspace import Workspace
from al_loop.structures.images import total_boxes


@dataclass(frozen=True)
class Exported:
    """Counts of an export. empty: images without objects. skipped: images that are left out."""

    images: int
    empty: int
    boxes: int
    outlines: int
    skipped: int


def export_labels(workspace: Workspace, target: Path, maps: Path | None = None) -> Exported:
    """Write the labelled and empty images of the pool as COCO, with outlines as `segmentation`.

    maps: folder for pixel maps, see `al_loop.images.pixel_maps`. They are written first.
    The workspace is only read, so that an export may run during a cycle. Image names are paths relative to
    the file. Raises DataError if there are no labels yet, if the file exists or cannot be written, or if maps
    are to be written of labels without any outline.
    """
    if target.exists():
        raise DataError(f"{target} exists already: choose another file")
    images = labelled(workspace, outlines=True)
    if not images:
        raise DataError("no image is labelled yet: there is nothing to export. Label images: al-loop cycle")
    outlines = sum(outline is not None for item in images for outline in item.boxes.outlines or ())
    if maps is not None:
        if not outlines and total_boxes(images):
            raise DataError(
                f"{maps}: no label has an outline, so that maps would show none. Have outlines drawn: "
                'task = "segmentation"'
            )
        items = ((item.image, item.boxes, item.ignored) for item in images)
        write_maps(maps, items, workspace.config.classes)
    folder = target.absolute().parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        start = folder.resolve()
        names = [Path(os.path.relpath(item.image.path.resolve(), start)).as_posix() for item in images]
        write_coco(target, images, workspace.config.classes, names)
    except OSError as error:
        raise DataError(f"the labels cannot be written to {target}: {error}") from None
    return Exported(
        images=len(images),
        empty=sum(not len(item.boxes) for item in images),
        boxes=total_boxes(images),
        outlines=outlines,
        skipped=status_counts(workspace.store).get("skipped", 0),
    )
