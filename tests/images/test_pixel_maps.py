"""Pixel maps of labels and of predictions."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from support.fake_model import add_model
from support.outlined_sets import boxes, polygon

from al_loop.core.errors import DataError
from al_loop.images import repository
from al_loop.images.pixel_maps import IGNORED, pixel_map, write_maps
from al_loop.models import scoring
from al_loop.state.database.label_table import NewLabel, write_label
from al_loop.state.file_hashes import shards_in
from al_loop.state.model_registry import Model
from al_loop.state.workspace import Workspace
from al_loop.structures import segmentation
from al_loop.structures.boxes import Boxes
from al_loop.structures.images import ImageFile, Prediction
from al_loop.structures.masks import SIDE

Run = Callable[..., tuple[int, str, str]]


def read(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as picture:
        assert picture.mode == "P"
        return np.asarray(picture)


def test_the_highest_score_counts_at_a_pixel() -> None:
    predicted = boxes((polygon(1, 0, 4, 2), 1, 0.6), (polygon(3, 0, 6, 1), 0, 0.9), (None, 1, 0.8))
    assert pixel_map(predicted, Boxes(), 7, 3).tolist() == [
        [0, 2, 2, 1, 1, 1, 0],
        [0, 2, 2, 2, 0, 0, 0],
        [0, 0, 0, 0, 0, 0, 0],
    ]


def test_of_labels_the_smallest_counts_and_what_is_unknown_is_marked() -> None:
    """A box without an outline, and an ignore region: the pixels of known outlines in them stay known."""
    drawn = boxes((polygon(0, 0, 2, 1), 1), (polygon(0, 0, 5, 2), 0), (None, 1), box=(4, 1, 6, 3))
    region = Boxes(np.array([[0.0, 2.2, 1.5, 3.0]]), np.array([0]))
    assert pixel_map(drawn, region, 8, 4).tolist() == [
        [2, 2, 1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 1, IGNORED, 0, 0],
        [IGNORED, IGNORED, 0, 0, IGNORED, IGNORED, 0, 0],
        [0] * 8,
    ]
    assert not pixel_map(Boxes(), Boxes(), 3, 2).any()


def test_labels_are_exported_as_maps(filled: Workspace, run: Run) -> None:
    first, second, *_ = repository.unlabelled(filled)
    drawn = boxes((polygon(10, 20, 30, 40), 1))
    for image, some in ((first, drawn), (second, Boxes())):
        status = "labelled" if len(some) else "empty"
        texts = repository.boxes_to_json(some), repository.outlines_to_json(some)
        write_label(filled.store, NewLabel(image.id, status, texts[0], "now", cycle=1, outlines=texts[1]))
    file, folder = filled.root / "labels.json", filled.root / "maps"
    status_code, out, _ = run("-w", filled.root, "pool", "export", file, "--masks", folder)
    assert status_code == 0
    assert out.endswith(f"{folder}: 2 pixel maps\n")
    assert {path.name for path in folder.iterdir()} == {f"{first.id}.png", f"{second.id}.png", "classes.json"}
    values = read(folder / f"{first.id}.png")
    expected = np.zeros((64, 96), np.uint8)
    expected[20:40, 10:30] = 2
    np.testing.assert_array_equal(values, expected)
    assert not read(folder / f"{second.id}.png").any()
    names = {"0": "background", "1": "bolt", "2": "nut", "255": "ignored"}
    assert json.loads((folder / "classes.json").read_text()) == names
    status_code, _, err = run("-w", filled.root, "pool", "export", filled.root / "b.json", "--masks", folder)
    assert status_code == 1
    assert "is not empty: choose another folder" in err
    assert not (filled.root / "b.json").exists()


def test_rectangles_alone_make_no_map(filled: Workspace, run: Run, tmp_path: Path) -> None:
    run("-w", filled.root, "pool", "add-labelled", tmp_path / "pool" / "coco.json")
    options = ("pool", "export", filled.root / "labels.json", "--masks", filled.root / "maps")
    status, _, err = run("-w", filled.root, *options)
    assert status == 1
    assert "no label has an outline" in err
    assert not (filled.root / "maps").exists()


def masks_of_left_halves(
    workspace: Workspace, model: Model, images: Sequence[ImageFile], folder: Path, *_: Any, **__: Any
) -> list[object]:
    """Stand in for a model: a nut whose left half is seen for sure, and a bolt everywhere that is not."""
    grid = np.zeros((SIDE, SIDE), np.uint8)
    grid[:, : SIDE // 2] = 255
    found = Boxes(np.array([[8.0, 0, 36, 28], [0, 0, 96, 64]]), np.array([1, 0]), np.array([0.9, 0.4]))
    masks = np.stack([grid.ravel(), np.full(SIDE**2, 255, np.uint8)])
    shares = np.full((2, 3), 1 / 3, np.float32)
    store = shards_in(workspace, folder)
    if missing := store.missing(images):
        store.append([Prediction(i.id, found, shares, np.zeros(4, np.float32), masks=masks) for i in missing])
    return []


def test_predictions_are_written_as_maps(
    filled: Workspace, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_model(filled, "import-1")
    monkeypatch.setattr(scoring, "score", masks_of_left_halves)
    status, out, _ = run("-w", filled.root, "models", "masks", "--out", filled.root / "maps")
    assert (status, out) == (0, f"{filled.root / 'maps'}: 4 pixel maps by import-1\n")
    values = read(filled.root / "maps" / f"{repository.validation(filled)[0].image.id}.png")
    expected = np.zeros((64, 96), np.uint8)
    expected[0:28, 8:22] = 2
    np.testing.assert_array_equal(values, expected)
    options = ("--pool", "--min-score", "0.3", "--out", filled.root / "pool-maps")
    _, out, _ = run("-w", filled.root, "models", "masks", "import-1", *options)
    assert out.endswith("6 pixel maps by import-1\n")
    expected[expected == 0] = 1
    values = read(filled.root / "pool-maps" / f"{repository.unlabelled(filled)[0].id}.png")
    # A predicted mask has round corners.
    np.testing.assert_array_equal(values[1:-1], expected[1:-1])


def test_a_model_of_boxes_makes_no_map(filled: Workspace, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from support import fake_model

    add_model(filled, "import-1")
    monkeypatch.setattr(scoring, "score", fake_model.score)
    status, _, err = run("-w", filled.root, "models", "masks", "--out", filled.root / "maps")
    assert status == 1
    assert "import-1 predicts boxes without masks" in err
    assert not (filled.root / "maps").exists()


def test_more_classes_than_values_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="at most 254 classes in a map of 8 bits, got 255"):
        write_maps(tmp_path / "maps", [], [f"c{n}" for n in range(255)])
    assert write_maps(tmp_path / "maps", [], [f"c{n}" for n in range(254)]) == 0


def test_a_mask_of_every_class_has_its_colour(tmp_path: Path) -> None:
    image = ImageFile("a", Path("a.png"), 4, 2)
    drawn = boxes((segmentation.mask(np.eye(2, 4, dtype=bool)), 0), (None, 1), box=(2, 0, 3, 1))
    write_maps(tmp_path / "maps", [(image, drawn, Boxes())], ["bolt", "nut"])
    with Image.open(tmp_path / "maps" / "a.png") as picture:
        colours = np.asarray(picture.convert("RGB"))
    assert colours[0, 2].tolist() == [255, 255, 255]
    assert colours[1, 0].tolist() == [0, 0, 0]
    assert colours[0, 0].tolist() not in ([0, 0, 0], [255, 255, 255])
