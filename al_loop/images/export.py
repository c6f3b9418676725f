"""Export all labels of people as one COCO file."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from al_loop.core.errors import DataError
from al_loop.images.coco import write_coco
from al_loop.images.repository import labelled
from al_loop.state.database.label_table import status_counts
from al_loop.state.workspace import Workspace
from al_loop.structures.images import total_boxes


@dataclass(frozen=True)
class Exported:
    """Counts of an exported file.

    empty: images on which there is nothing; skipped: those left out, as nobody could judge them.
    """

    images: int
    empty: int
    boxes: int
    outlines: int
    skipped: int


def export_labels(workspace: Workspace, target: Path) -> Exported:
    """Write the labelled and empty images of the pool as COCO, with outlines as `segmentation`.

    Only reads the workspace, so it may run beside a cycle. Images are named by their path from the file's
    folder, where `read_coco` finds them.
    Raises DataError where nobody has labelled anything yet, where the file is there already, or cannot be
    written.
    """
    if target.exists():
        raise DataError(f"{target} is there already: name another file")
    images = labelled(workspace, outlines=True)
    if not images:
        raise DataError("nobody has labelled an image yet: there is nothing to export. Begin: al-loop cycle")
    folder = target.absolute().parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        names = {item.image.id: _from(folder, item.image.path) for item in images}
        write_coco(target, images, workspace.config.classes, names)
    except OSError as error:
        raise DataError(f"the labels cannot be written to {target}: {error}") from None
    return Exported(
        images=len(images),
        empty=sum(not len(item.boxes) for item in images),
        boxes=total_boxes(images),
        outlines=sum(outline is not None for item in images for outline in item.boxes.outlines or ()),
        skipped=status_counts(workspace.store).get("skipped", 0),
    )


def _from(folder: Path, path: Path) -> str:
    """Return the relative path from a folder to a file, with links resolved."""
    return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()
