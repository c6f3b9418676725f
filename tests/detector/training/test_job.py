"""A training job as files comes back as it was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from support.training import training_job

from al_loop.core.training_config import AugmentConfig
from al_loop.detector.config.model_config import build_model
from al_loop.detector.self_training.settings import UnlabelledPart
from al_loop.detector.training.job import read_job, write_job
from al_loop.structures.boxes import Boxes


def same(first: Boxes, second: Boxes) -> bool:
    pairs = ((first.xyxy, second.xyxy), (first.labels, second.labels))
    equal = all(one.dtype == two.dtype and np.array_equal(one, two) for one, two in pairs)
    return equal and first.outlines == second.outlines


def test_a_job_comes_back(config: Any, sets: Any, make_boxes: Callable[..., Boxes], tmp_path: Path) -> None:
    weights = build_model(config).state_dict()
    training, validation = list(sets[0]), sets[1]
    training[0] = replace(training[0], ignored=make_boxes((1, 2, 3, 4, 1)))
    training[1] = replace(training[1], boxes=Boxes(), ignored=make_boxes((0, 0, 96, 64, 0)))
    outlines = ([[0.0, 0, 9, 0, 9, 9]], {"size": [2, 2], "counts": [1, 3]}, None)
    training[2] = replace(training[2], boxes=replace(make_boxes(*[(0, 0, 9, 9, 1)] * 3), outlines=outlines))
    job = training_job(
        config,
        (training, validation),
        tmp_path / "work",
        weights,
        steps=3,
        augment=AugmentConfig(rotate90=True),
    )
    images = [item.image for item in validation]
    unlabelled = UnlabelledPart(images, 4, (0.5, None), soft=True, weight=2.0)
    job = replace(job, rendered=validation[:2], unlabelled=unlabelled)
    write_job(job, tmp_path)
    back = read_job(tmp_path)
    assert (back.run, back.folder, back.config.model) == (job.run, job.folder, job.config.model)
    assert back.unlabelled is not None
    assert vars(back.unlabelled) == vars(unlabelled)
    assert back.start is not None
    assert all(torch.equal(back.start[name], tensor) for name, tensor in weights.items())
    pairs = zip(
        [*training, *validation, *job.rendered],
        [*back.training, *back.validation, *back.rendered],
        strict=True,
    )
    for before, after in pairs:
        assert before.image == after.image
        assert same(before.boxes, after.boxes)
        assert same(before.ignored, after.ignored)
