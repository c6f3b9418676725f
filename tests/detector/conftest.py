"""A small real detector, trained once for all tests that need detections."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from support.factories import CLASSES, write_coco_set

from al_loop.images.coco import read_coco
from al_loop.structures.images import ImageFile, LabelledImage


def labelled_set(folder: Path, count: int, seed: int) -> list[LabelledImage]:
    """Make a labelled set of pictures on disk."""
    coco = read_coco(write_coco_set(folder, count, seed=seed), CLASSES)
    assert not coco.problems
    return [
        LabelledImage(ImageFile(f"{seed}-{i.path.stem}", i.path, i.width, i.height), i.boxes)
        for i in coco.images
    ]


@pytest.fixture(scope="session")
def sets(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[LabelledImage], list[LabelledImage]]:
    """Training and validation images with blocks of two shapes."""
    folder = tmp_path_factory.mktemp("blocks")
    return labelled_set(folder / "train", 24, 1), labelled_set(folder / "val", 6, 2)


@pytest.fixture(scope="session")
def config() -> Any:
    """The small model's config for two classes."""
    from al_loop.detector.config.model_config import load_model_config

    return load_model_config("small", CLASSES, (96, 64))


@pytest.fixture(scope="session")
def trained(
    sets: tuple[list[LabelledImage], list[LabelledImage]],
    config: Any,
    tmp_path_factory: pytest.TempPathFactory,
) -> Any:
    """A training of a few seconds that ends with an AP well above zero, its work folder, and its progress.

    All processes of the tests share it.
    """
    import torch
    from support.training import training_job

    from al_loop.detector.training.train import train

    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "trained"
    folder.mkdir(exist_ok=True)
    file = folder / "result.pth"
    with FileLock(folder / "lock"):
        if not file.is_file():
            steps: list[tuple[int, int, str]] = []
            job = training_job(config, sets, folder / "work", lr=2e-3, steps=84, val_every=42)
            result = train(job, lambda *step: steps.append(step))
            torch.save((result, job.folder, steps), file)
    return torch.load(file, weights_only=False)


@pytest.fixture
def detector(trained: Any, config: Any) -> Any:
    """The trained model, ready to predict."""
    import torch

    from al_loop.detector.checkpoint import load_into
    from al_loop.detector.config.model_config import build_model
    from al_loop.detector.inference.predict import Detector

    model = build_model(config)
    load_into(model, trained[0].weights, "the fixture")
    return Detector(model, config, torch.device("cpu"))
