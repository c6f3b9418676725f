"""A training takes the given number of steps, for any number of images."""

from __future__ import annotations

import pytest

from al_loop.core.training_config import PretrainConfig, TrainConfig
from al_loop.detector.training.schedule import schedule


@pytest.mark.parametrize(
    ("settings", "images", "duration"),
    [
        (TrainConfig(), 25, (400, 100)),
        (PretrainConfig(), 25, (1500, 100)),
        (TrainConfig(steps=7, val_every=3, batch_size=2), 1, (7, 3)),
        (TrainConfig(epochs=50), 25, (350, 7)),  # 7 steps show 25 images
        (TrainConfig(epochs=3, val_every=2, batch_size=8), 24, (9, 6)),
        (TrainConfig(epochs=1), 1, (1, 1)),
    ],
)
def test_a_duration_in_steps_or_in_epochs(
    settings: TrainConfig, images: int, duration: tuple[int, int]
) -> None:
    assert settings.duration(images) == duration


@pytest.mark.parametrize("steps", [2, 9, 10, 160, 1500])
def test_the_rate_rises_over_a_tenth_and_then_falls(steps: int) -> None:
    rise, fall = schedule(steps)
    assert rise["end"] == fall["begin"] == max(1, steps // 10)
    assert fall["end"] == steps == fall["begin"] + fall["T_max"]


def test_a_training_of_one_step_only_rises() -> None:
    (rise,) = schedule(1)
    assert rise["end"] == 1
