"""How often a training shows each image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.training import training_job

from al_loop.core.training_config import AugmentConfig
from al_loop.detector import transforms
from al_loop.detector.training.sampling import EndlessSampler, repeat_factors, replay_share
from al_loop.detector.training.train import train
from al_loop.structures.boxes import Boxes
from al_loop.structures.images import ImageFile, LabelledImage


def drawn(
    factors: list[float], images: int, count: int, shares: tuple[float, float] = (0.0, 0.0), seed: int = 0
) -> list[int]:
    """Return the first indices of a sampler, all those of its training."""
    return list(islice(EndlessSampler(range(images), seed, np.array(factors), shares, count), count))


def test_repeat_factors_by_hand(make_boxes: Callable[..., Boxes]) -> None:
    """Class 0 is in 8 of 10 images, class 1 in 1 of them: t = 0.4 repeats it sqrt(0.4 / 0.1) = 2 times."""
    image = ImageFile("a", Path("a.png"), 9, 9)
    common, rare, both = ((0, 0, 5, 5, 0),), ((0, 0, 5, 5, 1),), ((0, 0, 5, 5, 0), (0, 0, 5, 5, 2))
    labels = [*[common] * 7, both, rare, ()]
    images = [LabelledImage(image, make_boxes(*boxes) if boxes else Boxes()) for boxes in labels]
    assert repeat_factors(images, 0.4).tolist() == pytest.approx([*[1] * 7, 2, 2, 1])
    assert repeat_factors(images, 0.1).tolist() == [1] * 10
    assert repeat_factors(images, 0.0).tolist() == [1] * 10


def test_the_share_falls_with_the_labels() -> None:
    assert [replay_share(0.6, n) for n in (0, 50, 100)] == pytest.approx([0.6, 0.3, 0.2])


def test_without_factors_an_epoch_shows_each_image_once() -> None:
    order = drawn([1.0] * 5, 5, 15)
    assert [sorted(order[at : at + 5]) for at in (0, 5, 10)] == [list(range(5))] * 3
    assert order[:5] != order[5:10]
    assert order == drawn([1.0] * 5, 5, 15)
    assert order != drawn([1.0] * 5, 5, 15, seed=1)


def test_images_are_drawn_as_often_as_their_factors_say() -> None:
    counts = np.bincount(drawn([1.0, 2.5, 1.5], 3, 10_000))
    assert counts / counts[0] == pytest.approx([1, 2.5, 1.5], rel=0.05)


def test_a_share_of_the_images_is_rendered() -> None:
    order = np.array(drawn([1.0] * 4, 12, 4000, shares=(0.25, 0.25)))
    assert np.mean(order >= 4) == pytest.approx(0.25, abs=0.02)
    counts = np.bincount(order[order >= 4] - 4)
    assert max(counts) - min(counts) <= 1


def test_the_share_of_rendered_images_falls_over_the_training() -> None:
    rendered = np.array(drawn([1.0] * 4, 12, 8000, shares=(1.0, 0.0))) >= 4
    quarters = [part.mean() for part in np.split(rendered, 4)]
    assert quarters == pytest.approx([7 / 8, 5 / 8, 3 / 8, 1 / 8], abs=0.03)
    assert rendered[:50].mean() > 0.95
    assert rendered[-50:].mean() < 0.05


@pytest.mark.train
def test_a_training_draws_rendered_images_and_pastes_their_objects(
    sets: Any, config: Any, tmp_path: Path
) -> None:
    """The loader of a training, whose COCO file holds the rendered images after the photographs."""
    training, rendered = sets[0][:4], sets[0][4:12]
    augment = AugmentConfig(copy_paste=1.0, rotate=30.0)
    job = training_job(
        config,
        (training, sets[1][:1]),
        tmp_path / "w",
        steps=3,
        batch_size=4,
        replay=1.0,
        balance=0.5,
        augment=augment,
    )
    seen = list[str]()
    read = transforms.read_picture

    def noted(path: Path | str, *, strict: bool = True) -> Any:
        seen.append(str(path))
        return read(path, strict=strict)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transforms, "read_picture", noted)
        result = train(replace(job, rendered=rendered))
    assert result.steps == 3
    drawn = [path for path in seen if path != str(sets[1][0].image.path)]
    assert set(drawn) & {str(item.image.path) for item in rendered}
    assert set(drawn) & {str(item.image.path) for item in training}
