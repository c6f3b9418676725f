"""Labelled sets with outlines, and predictions with masks, made up."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from support.factories import edited, write_coco_set

from al_loop.state.workspace import Workspace, open_workspace
from al_loop.structures import segmentation
from al_loop.structures.boxes import Boxes, Outline
from al_loop.structures.images import ImageFile, LabelledImage

#: Corners of a rectangle x1, y1, x2, y2.
Corners = tuple[float, float, float, float]


def polygon(x1: float, y1: float, x2: float, y2: float) -> Outline:
    """A rectangle as a polygon: it covers the pixels x1 <= x < x2, y1 <= y < y2 for whole numbers."""
    return [[x1, y1, x2, y1, x2, y2, x1, y2]]


def shape(*rows: str) -> NDArray[np.bool_]:
    """Pixels from a drawing: "#" is set."""
    return np.array([[letter == "#" for letter in row] for row in rows], np.bool_)


def boxes(
    *rows: tuple[Outline | None, int] | tuple[Outline | None, int, float], box: Corners = (0, 0, 9, 9)
) -> Boxes:
    """Return boxes of (outline, label, score of a prediction). box: of those without an outline."""
    if not rows:
        return Boxes()
    xyxy = [np.array(box, float) if row[0] is None else segmentation.hull(row[0]) for row in rows]
    scores = np.array([row[2] for row in rows if len(row) > 2], np.float64)
    return Boxes(
        np.stack(xyxy),
        np.array([row[1] for row in rows], np.int64),
        scores if len(scores) else None,
        tuple(row[0] for row in rows) if any(row[0] for row in rows) else None,
    )


def image(name: str, boxes: Boxes, ignored: Boxes | None = None, size: int = 20) -> LabelledImage:
    """A labelled image of size x size px."""
    return LabelledImage(ImageFile(name, Path(name), size, size), boxes, ignored or Boxes())


def random_blob(rng: np.random.Generator, size: int) -> NDArray[np.bool_]:
    """An ellipse somewhere in an image, cut at its edges."""
    y, x = np.mgrid[:size, :size]
    centre, radius = rng.uniform(0.1, 0.9, 2) * size, rng.uniform(3, 0.4 * size, 2)
    return np.asarray(((x - centre[0]) / radius[0]) ** 2 + ((y - centre[1]) / radius[1]) ** 2 <= 1)


def random_set(seed: int, images: int = 10, size: int = 64) -> tuple[list[LabelledImage], dict[str, Boxes]]:
    """Random masks of two classes; predictions are near most of them. Some labels have no outline."""
    rng = np.random.default_rng(seed)
    truth, predicted = [], {}
    for number in range(images):
        true = [(random_blob(rng, size), int(rng.integers(0, 2))) for _ in range(rng.integers(0, 4))]
        drawn = [(segmentation.mask(pixels), label) for pixels, label in true]
        rows = [_prediction(rng, pixels, label) for pixels, label in true if rng.random() < 0.8]
        rows += [_prediction(rng, random_blob(rng, size), int(rng.integers(0, 2)))] * int(rng.random() < 0.5)
        scored = [(*row, (1 + rng.permutation(50)[0] + number / 100) / 60) for row in rows]
        labels = boxes(*drawn)
        if len(drawn) > 1 and rng.random() < 0.4:  # one without an outline, with its box
            kept = (None, *(outline for outline, _ in drawn[1:]))
            labels = Boxes(labels.xyxy, labels.labels, outlines=kept)
        truth.append(image(f"i{number}", labels, size=size))
        predicted[f"i{number}"] = boxes(*scored)
    return truth, predicted


def _prediction(rng: np.random.Generator, pixels: NDArray[np.bool_], label: int) -> tuple[Outline, int]:
    """Return a mask shifted by a few pixels, sometimes of the other class."""
    moved = np.roll(pixels, rng.integers(-4, 5, 2), axis=(0, 1))
    return segmentation.mask(moved), label if rng.random() < 0.9 else 1 - label


def for_outlines(workspace: Workspace) -> Workspace:
    """Return the workspace with task = "segmentation" in its file."""
    path = workspace.root / "al-loop.toml"
    text = path.read_text().replace('task = "detection"', 'task = "segmentation"')
    path.write_text(text if 'task = "segmentation"' in text else f'task = "segmentation"\n{text}')
    return open_workspace(workspace.root)


def write_outlined_set(folder: Path, count: int, seed: int = 0) -> Path:
    """Write a COCO set of `write_coco_set` whose wide blocks have outlines: the block without a corner."""
    coco = write_coco_set(folder, count, seed=seed)

    def draw(data: dict[str, list[dict[str, object]]]) -> None:
        for annotation in data["annotations"]:
            if annotation["category_id"] == 1:
                x, y, w, h = json.loads(json.dumps(annotation["bbox"]))
                corners = (x, y), (x + w, y), (x + w, y + h - 4), (x + w - 4, y + h), (x, y + h)
                annotation["segmentation"] = [[value for corner in corners for value in corner]]

    return edited(coco, coco.name, draw)
