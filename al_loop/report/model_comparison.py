"""The page of `al-loop models compare`: numbers, and pictures of the images on which two models differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from al_loop.core.errors import DataError
from al_loop.core.files import write_atomically
from al_loop.models.compare import ModelComparison
from al_loop.report.pictures import DrawnBox, draw_boxes, stored_thumbnail
from al_loop.report.write import environment
from al_loop.state.workspace import Workspace, now
from al_loop.structures.boxes import Boxes
from al_loop.structures.images import LabelledImage

_PICTURES = 24  # for each model


@dataclass(frozen=True)
class Pair:
    """One image with what both models say of it, and what is true."""

    key: str
    name: str
    width: int
    height: int
    picture: str | None
    right: tuple[DrawnBox, ...]
    wrong: tuple[DrawnBox, ...]
    truth: tuple[DrawnBox, ...]


def write_versus(workspace: Workspace, found: ModelComparison, path: Path | None = None) -> Path:
    """Write the page, by default beside the first model, and return its path; DataError where it cannot be written."""
    path = path or found.first.folder / f"versus-{found.second.id}.html"
    pairs = {model: _pairs(workspace, found, model, images) for model, images in found.right_alone.items()}
    html = (
        environment("report")
        .get_template("versus.html")
        .render(found=found, pairs=pairs, shown=_PICTURES, written=now(), name=workspace.config.name)
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, html.encode())
    except OSError as error:
        raise DataError(f"{path} cannot be written ({error.strerror}). Name another: --out FILE") from None
    return path


def _pairs(
    workspace: Workspace, found: ModelComparison, right: str, images: Sequence[LabelledImage]
) -> list[Pair]:
    wrong = next(model for model in found.predicted if model != right)

    def drawn(item: LabelledImage, boxes: Boxes) -> tuple[DrawnBox, ...]:
        return tuple(draw_boxes(boxes, workspace.config.classes, item.image.width, item.image.height))

    return [
        Pair(
            f"{right}-{number}",
            found.names[item.image.id],
            item.image.width,
            item.image.height,
            stored_thumbnail(item.image),
            drawn(item, found.predicted[right].get(item.image.id, Boxes())),
            drawn(item, found.predicted[wrong].get(item.image.id, Boxes())),
            drawn(item, item.boxes),
        )
        for number, item in enumerate(images[:_PICTURES])
    ]
