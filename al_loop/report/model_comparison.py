"""The page of `al-loop models compare`: numbers, and images on which two models differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from al_loop.models.compare import ModelComparison
from al_loop.report.pictures import DrawnBox, draw_boxes, stored_thumbnail
from al_loop.report.precision_recall import set_plots
from al_loop.report.write import environment, write_page
from al_loop.state.workspace import Workspace, now
from al_loop.structures.boxes import Boxes
from al_loop.structures.images import LabelledImage

_PICTURES = 24  # for each model


@dataclass(frozen=True)
class Pair:
    """One image with the boxes of both models and the labels. right, wrong: of the models that are."""

    key: str
    name: str
    width: int
    height: int
    picture: str | None
    right: list[DrawnBox]
    wrong: list[DrawnBox]
    truth: list[DrawnBox]


def write_versus(workspace: Workspace, found: ModelComparison, path: Path | None = None) -> Path:
    """Write the page, by default beside the first model, and return its path.

    Raises DataError where it cannot be written.
    """
    pairs = {model: _pairs(workspace, found, model, images) for model, images in found.right_alone.items()}
    template = environment("report").get_template("versus.html")
    html = template.render(
        found=found,
        pairs=pairs,
        plots=set_plots(found.curves, "precision"),
        shown=_PICTURES,
        written=now(),
        name=workspace.config.name,
    )
    return write_page(path or found.first.folder / f"versus-{found.second.id}.html", html)


def _pairs(
    workspace: Workspace, found: ModelComparison, right: str, images: Sequence[LabelledImage]
) -> list[Pair]:
    wrong = next(model for model in found.predicted if model != right)
    pairs = []
    for number, item in enumerate(images[:_PICTURES]):
        image = item.image
        boxes = (*(found.predicted[model].get(image.id, Boxes()) for model in (right, wrong)), item.boxes)
        drawn = (draw_boxes(one, workspace.config.classes, image.width, image.height) for one in boxes)
        name, picture = found.names[image.id], stored_thumbnail(image)
        pairs.append(Pair(f"{right}-{number}", name, image.width, image.height, picture, *drawn))
    return pairs
