"""`al-loop models counts`: boxes and whole images, of a set and of a file with words about its boxes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.factories import edited, write_coco_set
from support.fake_model import add_model

from al_loop.images import repository
from al_loop.images.coco import read_coco
from al_loop.models import scoring
from al_loop.state.file_hashes import shards_in
from al_loop.state.model_registry import Model
from al_loop.state.workspace import Workspace
from al_loop.structures.boxes import Boxes
from al_loop.structures.images import ImageFile, Prediction

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    """Four images with a bolt and a nut each; two nuts are hard to see. CVAT wrote the words of one image."""

    def words(data: dict[str, Any]) -> None:
        for annotation in data["annotations"]:
            hard = annotation["category_id"] == 2 and annotation["image_id"] < 3
            name = "attributes" if annotation["image_id"] == 1 else "state"
            annotation[name] = {"legibility": "poorly" if hard else "well", "rotation": 0.0}

    return edited(write_coco_set(tmp_path / "stamps", 4, seed=7), "worded.json", words)


@pytest.fixture
def model(filled: Workspace, coco: Path, monkeypatch: pytest.MonkeyPatch) -> Model:
    """A model that finds all but the nuts of the first two images of the file: it takes one for a bolt."""
    images = read_coco(coco, filled.config.classes).images
    truth = {item.path.resolve(): item.boxes for item in images}
    truth |= {item.image.path.resolve(): item.boxes for item in repository.validation(filled)}
    first, second, *_ = (item.path.resolve() for item in images)
    keep = np.array([True, False])
    truth[first] = truth[first].take(keep)
    truth[second] = Boxes(truth[second].xyxy, np.array([0, 0]))

    def score(
        workspace: Workspace, model: Model, images: Sequence[ImageFile], folder: Path, *_: Any, **__: Any
    ) -> list[object]:
        predictions = []
        for image in shards_in(workspace, folder).missing(images):
            boxes = truth[image.path.resolve()]
            scored = Boxes(boxes.xyxy, boxes.labels, np.full(len(boxes), 0.9))
            shares = np.full((len(boxes), 3), 1 / 3, np.float32)
            predictions.append(Prediction(image.id, scored, shares, np.zeros(4, np.float32)))
        if predictions:
            shards_in(workspace, folder).append(predictions)
        return []

    monkeypatch.setattr(scoring, "score", score)
    return add_model(filled, "import-1")


def test_results_by_legibility_and_of_whole_images(
    filled: Workspace, coco: Path, model: Model, run: Run, temporary: Path
) -> None:
    status, out, _ = run("-w", filled.root, "models", "counts", "--data", coco)
    assert status == 0
    assert out.splitlines() == [
        "4 images, 8 boxes, by import-1: 50.0% of the images without an error",
        "                    boxes  right  misclassified  missed  recall",
        "all                     8      6              1       1   0.750",
        "class: bolt             4      4              0       0   1.000",
        "class: nut              4      2              1       1   0.500",
        "legibility: poorly      2      0              1       1   0.000",
        "legibility: well        6      6              0       0   1.000",
        "false boxes: 0, precision 0.857",
        "boxes are matched at an IoU of at least 0.5, each box once",
    ]
    assert not list(temporary.iterdir())
    _, out, _ = run("-w", filled.root, "models", "counts", "import-1", "--data", coco, "--rule", "faltings")
    assert "all                     8      6              1       2   0.750\n" in out
    assert "the missed ones include the misclassified" in out


def test_a_set_of_the_workspace(filled: Workspace, model: Model, run: Run) -> None:
    _, out, _ = run("-w", filled.root, "models", "counts")
    assert out.startswith("4 images, 8 boxes, by import-1: 100.0% of the images without an error\n")
    status, _, err = run("-w", filled.root, "models", "counts", "--set", "night")
    assert (status, "no evaluation set 'night'" in err) == (1, True)


def test_a_file_without_a_usable_image_is_refused(
    filled: Workspace, coco: Path, model: Model, run: Run
) -> None:
    def elsewhere(data: dict[str, Any]) -> None:
        for image in data["images"]:
            image["file_name"] = f"gone/{image['id']}.jpeg"

    status, _, err = run(
        "-w", filled.root, "models", "counts", "--data", edited(coco, "gone.json", elsewhere)
    )
    assert status == 1
    assert "gone.json has no usable image" in err
