"""An untrained model compares images by the ImageNet features of its backbone; on the real default model."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from msgspec import structs
from support.factories import draw
from support.pool_images import add_images

from al_loop.core.console import Silent
from al_loop.detector.inference.predict import as_input
from al_loop.detector.transforms import decode_bytes
from al_loop.images import repository
from al_loop.models import scoring
from al_loop.models.pretrain import initial_model
from al_loop.state.file_hashes import shards_in
from al_loop.state.workspace import Workspace

pytestmark = pytest.mark.train


def test_the_features_of_the_backbone_without_boxes(workspace: Workspace, tmp_path: Path) -> None:
    for number in range(3):  # two alike, one other
        boxes = [[8, 8, 20, 20]] if number < 2 else [[30, 2, 60, 60], [2, 40, 20, 10]]
        draw(96, 64, boxes, seed=number).save(tmp_path / f"{number}.png")
    add_images(workspace, sorted(tmp_path.glob("*.png")))
    model_config = structs.replace(workspace.config.model, config="lite", image_size=(96, 64))
    workspace = workspace.with_settings(structs.replace(workspace.config, model=model_config))
    model = initial_model(workspace, Silent())
    assert (model.id, model.origin) == ("initial-1", "initial")
    assert initial_model(workspace, Silent()).id == "initial-1"

    images, folder = repository.unlabelled(workspace), workspace.root / "scores"
    scoring.score(workspace, model, images, folder, lambda *_: None, scoring.EXACT)
    scored = shards_in(workspace, folder).load()
    assert len(scored.distributions) == 0
    assert not scored.uncertainty.any()
    found = scored.subset([image.id for image in images]).embeddings
    assert found.shape == (3, 320)

    detector = scoring.load_detector(workspace, model)
    pictures = [decode_bytes(image.path.read_bytes(), image.path) for image in images]
    with torch.inference_mode():
        last = detector.model.backbone(as_input(detector, pictures))[-1]
    np.testing.assert_allclose(found, last.mean(dim=(2, 3)).numpy(), atol=2e-3)
    names = repository.source_names(workspace, [image.id for image in images])
    order = sorted(range(3), key=lambda row: names[images[row].id])
    distance = partial(_distance, np.asarray(found, np.float64)[order])
    assert distance(0, 1) < min(distance(0, 2), distance(1, 2))


def _distance(points: np.ndarray, first: int, second: int) -> float:
    return float(np.linalg.norm(points[first] - points[second]))
