"""A training of a benchmark takes a given number of steps for any number of images."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest

from al_loop.benchmark.run.training import fixed_steps
from al_loop.core.config import TrainConfig
from al_loop.detector.training.ddp import BatchShareSampler, OneProcessSampler
from al_loop.detector.training.job import RunSettings
from al_loop.detector.training.schedule import partial_epoch, schedule


class Images(SimpleNamespace):
    """Portrait and landscape pictures in turn, repeated."""

    def __len__(self) -> int:
        return len(self.dataset) * int(self.times)

    def get_data_info(self, index: int) -> dict[str, int]:
        return {"width": 1 + index % len(self.dataset) % 2, "height": 2 - index % len(self.dataset) % 2}


def planned(steps: int, images: int, batch: int, validations: int) -> RunSettings:
    settings = fixed_steps(TrainConfig(batch_size=batch), steps, images, 0, validations=validations)
    return RunSettings(settings, "cpu", lr=1e-3, workers=0, steps=steps)


def batches_by_epoch(run: RunSettings, images: int) -> list[list[list[int]]]:
    """Batches of each epoch, as the Runner's sampler draws them."""
    dataset: Any = Images(dataset=range(images), times=run.settings.repeat)
    sampler = OneProcessSampler(dataset, seed=0, partial=partial_epoch(run, images))
    batches = BatchShareSampler(sampler, run.settings.batch_size)
    epochs = []
    for epoch in range(run.settings.epochs):
        sampler.set_epoch(epoch)
        epochs.append([[i % images for i in batch] for batch in batches])
    return epochs


@pytest.mark.integration
@pytest.mark.parametrize("validations", [1, 8])
@pytest.mark.parametrize("batch", [1, 2, 4, 16])
@pytest.mark.parametrize("images", [1, 2, 3, 25, 26, 100, 799, 1000, 1050, 1100])
def test_a_training_takes_the_given_steps(images: int, batch: int, validations: int) -> None:
    for steps in (1, 2, 7, 160, 400):
        check_steps(steps, images, batch, validations)


def check_steps(steps: int, images: int, batch: int, validations: int) -> None:
    run = planned(steps, images, batch, validations)
    settings, drawn = run.settings, batches_by_epoch(run, images)
    assert sum(len(epoch) for epoch in drawn) == steps
    assert all(drawn), "an epoch without a step"
    if validations == 1:
        assert settings.epochs == settings.val_every == 1
        seen = Counter(i for batch in drawn[0] for i in batch)
        assert max(seen.values()) - (min(seen.values()) if len(seen) == images else 0) <= 1
    *rise, last = schedule(settings.epochs, steps)
    assert last["end"] == steps
    # For any number of epochs, the learning rate rises over a tenth of the steps and then falls.
    assert [part["end"] for part in rise] == ([max(1, steps // 10)] if steps > 1 else [])


def test_by_hand() -> None:
    """400 steps of 4 draw 1600 images: of 1000 each once and 600 again; of 799 two epochs of 399.5."""
    run = planned(400, 1000, 4, 1)
    assert (run.settings.epochs, run.settings.repeat) == (1, 2)
    assert partial_epoch(run, 1000) == (0, 1600)
    seen = Counter(i for batch in batches_by_epoch(run, 1000)[0] for i in batch)
    assert Counter(seen.values()) == {1: 400, 2: 600}
    assert partial_epoch(planned(400, 799, 4, 1), 799) is None
    assert partial_epoch(planned(400, 800, 4, 1), 800) is None
    # Eight validations of 130 images: epochs of 260 images in 65 steps, six whole ones and ten steps.
    run = planned(400, 130, 4, 8)
    assert (run.settings.epochs, run.settings.repeat, run.settings.val_every) == (7, 2, 1)
    assert partial_epoch(run, 130) == (6, 40)
    assert [len(epoch) for epoch in batches_by_epoch(run, 130)] == [65] * 6 + [10]


@pytest.mark.parametrize("epochs", [1, 2, 30])
def test_of_whole_epochs_none_is_cut(epochs: int) -> None:
    settings = TrainConfig(epochs=epochs, repeat=2)
    assert partial_epoch(RunSettings(settings, "cpu", 1e-3, 0, steps=epochs * 5), 10) is None


@pytest.mark.parametrize("epochs", [10, 30])
def test_where_a_tenth_is_whole_epochs_steps_are_scheduled_as_these(epochs: int) -> None:
    whole, counted = schedule(epochs), schedule(epochs, epochs * 5)
    for one, other in zip(whole, counted, strict=True):
        assert one["type"] == other["type"]
        assert {name: one[name] * 5 for name in ("begin", "end", "T_max") if name in one} == {
            name: other[name] for name in ("begin", "end", "T_max") if name in other
        }
