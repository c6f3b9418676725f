"""A training of a benchmark takes as many steps as were asked for, whatever the number of images."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from al_loop.benchmark.run.evaluation import fixed_steps
from al_loop.core.config import TrainConfig
from al_loop.detector.training.ddp import ShareOfBatches, WholeSampler, evenly
from al_loop.detector.training.schedule import cut_short, schedule
from al_loop.detector.training.settings import TrainSettings

PLAIN = TrainSettings(
    epochs=1, batch_size=4, lr=1e-3, val_every=1, patience=9, repeat=1, workers=0, seed=0, device="cpu"
)


class Images(SimpleNamespace):
    """Upright and lying pictures in turn, repeated."""

    def __len__(self) -> int:
        return len(self.dataset) * int(self.times)

    def get_data_info(self, index: int) -> dict[str, int]:
        return {"width": 1 + index % len(self.dataset) % 2, "height": 2 - index % len(self.dataset) % 2}


def planned(steps: int, images: int, batch: int, looks: int) -> TrainSettings:
    own = TrainConfig(batch_size=batch)
    made = fixed_steps(own, steps, images, 0, looks=looks)
    return replace(
        PLAIN,
        epochs=made.epochs,
        repeat=made.repeat,
        batch_size=batch,
        val_every=made.val_every,
        steps=steps,
    )


def epochs_of(settings: TrainSettings, images: int) -> list[list[list[int]]]:
    """Batches of each epoch, as the Runner's sampler draws them."""
    dataset: Any = Images(dataset=range(images), times=settings.repeat)
    sampler = WholeSampler(dataset, seed=0, cut=cut_short(settings, images))
    batches = ShareOfBatches(sampler, settings.batch_size)
    found = []
    for epoch in range(settings.epochs):
        sampler.set_epoch(epoch)
        found.append([[i % images for i in batch] for batch in batches])
    return found


@pytest.mark.parametrize("looks", [1, 8])
@pytest.mark.parametrize("batch", [1, 2, 4, 16])
@pytest.mark.parametrize("images", [1, 2, 3, 25, 26, 100, 799, 1000, 1050, 1100])
@pytest.mark.parametrize("steps", [1, 2, 7, 160, 400])
def test_as_many_steps_as_asked(steps: int, images: int, batch: int, looks: int) -> None:
    settings = planned(steps, images, batch, looks)
    drawn = epochs_of(settings, images)
    assert sum(len(epoch) for epoch in drawn) == steps
    assert all(drawn), "an epoch without a step"
    if looks == 1:
        assert settings.epochs == settings.val_every == 1
        seen = Counter(i for batch in drawn[0] for i in batch)
        assert max(seen.values()) - (min(seen.values()) if len(seen) == images else 0) <= 1
    *rise, last = schedule(settings.epochs, steps)
    assert last["end"] == steps
    # However few epochs there are, the learning rate rises over a tenth of the steps alone, and then falls.
    assert [part["end"] for part in rise] == ([max(1, steps // 10)] if steps > 1 else [])


def test_by_hand() -> None:
    """400 steps of 4 are 1600 images: of 1000 each once and 600 of them again; of 799 two epochs of 399.5, rounded up."""
    settings = planned(400, 1000, 4, 1)
    assert (settings.epochs, settings.repeat) == (1, 2)
    assert cut_short(settings, 1000) == (0, 1600)
    seen = Counter(i for batch in epochs_of(settings, 1000)[0] for i in batch)
    assert Counter(seen.values()) == {1: 400, 2: 600}
    assert cut_short(planned(400, 799, 4, 1), 799) is None
    assert cut_short(planned(400, 800, 4, 1), 800) is None
    # Eight looks at 130 images: epochs of 260 images in 65 steps, six whole ones and ten steps.
    settings = planned(400, 130, 4, 8)
    assert (settings.epochs, settings.repeat, settings.val_every) == (7, 2, 1)
    assert cut_short(settings, 130) == (6, 40)
    assert [len(epoch) for epoch in epochs_of(settings, 130)] == [65] * 6 + [10]


def test_some_of_an_order() -> None:
    assert evenly([5, 0, 4, 1, 3, 2], 3, 6) == [5, 0, 4, 1, 3, 2]
    assert evenly([5, 0, 4, 1, 3, 2], 3, 4) == [5, 0, 1, 2]  # each once, and the first of the second copies
    assert evenly([5, 0, 4, 1, 3, 2], 3, 2) == [0, 1]


@pytest.mark.parametrize("epochs", [1, 2, 30])
def test_of_whole_epochs_none_is_cut(epochs: int) -> None:
    assert cut_short(replace(PLAIN, epochs=epochs, repeat=2, steps=epochs * 5), 10) is None


@pytest.mark.parametrize("epochs", [10, 30])
def test_where_a_tenth_is_whole_epochs_steps_are_scheduled_as_these(epochs: int) -> None:
    whole, counted = schedule(epochs), schedule(epochs, epochs * 5)
    for one, other in zip(whole, counted, strict=True):
        assert one["type"] == other["type"]
        assert {name: one[name] * 5 for name in ("begin", "end", "T_max") if name in one} == {
            name: other[name] for name in ("begin", "end", "T_max") if name in other
        }
