"""The two views of unlabelled images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from al_loop.core.errors import TrainingError
from al_loop.core.training_config import AugmentConfig
from al_loop.detector.self_training.views import WEAK, UnlabelledViews
from al_loop.detector.transforms import read_picture
from al_loop.structures.images import ImageFile

STILL = AugmentConfig(hflip=False, colour=0, grayscale=0, noise=0, blur=0, cutout=0)


@pytest.fixture
def images(sets: Any) -> list[ImageFile]:
    return [item.image for item in sets[0][:5]]


def pixels(image: ImageFile) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(read_picture(image.path))).permute(2, 0, 1)


def shown(views: UnlabelledViews, images: list[ImageFile], step: int) -> list[int]:
    """Return which images a step has."""
    known = [pixels(image) for image in images]
    items = [views[step][i]["data_samples"].get(WEAK) for i in range(len(views[step]))]
    return [next(i for i, each in enumerate(known) if torch.equal(each, item)) for item in items]


def test_each_image_once_before_any_is_repeated(images: list[ImageFile], config: Any) -> None:
    views = UnlabelledViews(images, config, STILL, STILL, 2, seed=3)
    order = [image for step in range(5) for image in shown(views, images, step)]
    assert sorted(order[:5]) == sorted(order[5:]) == [0, 1, 2, 3, 4]
    assert order[:5] != order[5:]
    # A resumed training goes on with the same images.
    resumed = UnlabelledViews(images, config, STILL, STILL, 2, seed=3)
    assert shown(resumed, images, 4) == order[8:]


def test_the_strong_view_has_the_geometry_of_the_weak_one(images: list[ImageFile], config: Any) -> None:
    flipped = UnlabelledViews(images, config, AugmentConfig(), STILL, 1, 0)
    mirrored = 0
    for step in range(10):
        (item,) = flipped[step]
        weak = item["data_samples"].get(WEAK)
        assert torch.equal(item["inputs"], weak)  # nothing but the geometry is changed
        mirrored += any(torch.equal(weak.flip(2), pixels(image)) for image in images)
    assert 1 <= mirrored <= 9
    (item,) = UnlabelledViews(images, config, STILL, AugmentConfig(erase=0.2), 1, 0)[1]
    weak = item["data_samples"].get(WEAK)
    assert any(torch.equal(weak, pixels(image)) for image in images)
    assert not torch.equal(item["inputs"], weak)
    assert item["data_samples"].img_shape == (64, 96)


def test_an_unreadable_image_is_replaced(images: list[ImageFile], config: Any, tmp_path: Path) -> None:
    gone = replace(images[0], path=tmp_path / "gone.png")
    views = UnlabelledViews([gone, *images[1:]], config, STILL, STILL, 5, seed=0)
    order = shown(views, images, 0)
    assert len(order) == 5
    assert set(order) == {1, 2, 3, 4}
    with pytest.raises(TrainingError, match=r"none of the 1 unlabelled images can be read: .*gone.png"):
        UnlabelledViews([gone], config, STILL, STILL, 1, seed=0)[0]
