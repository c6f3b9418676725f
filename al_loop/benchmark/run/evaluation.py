"""What the units of a benchmark share: trainings of equal cost, and judging on every set."""

from __future__ import annotations

from dataclasses import asdict
from math import ceil
from pathlib import Path
from typing import Any

import msgspec

from al_loop.benchmark.spec.datasets import Sets
from al_loop.core.config import TrainConfig
from al_loop.core.console import Reporter
from al_loop.evaluation.detection_counts import count, count_r2
from al_loop.models import service
from al_loop.state.model_registry import Model
from al_loop.state.prediction_store import ShardStore
from al_loop.state.workspace import Workspace

#: Raised when picks or trainings of the same settings come out otherwise than by an older al-loop: what that made is made anew.
RECIPE = 3


def fixed_steps(own: TrainConfig, steps: int, images: int, seed: int, *, looks: int = 1) -> TrainConfig:
    """The settings for so many steps, for few images as for many: equal cost, and no more to learn from.

    The training takes exactly `steps` when it is told them, too: its last epoch is then cut short. Its epochs have as
    many steps or more, with the last less.
    looks: validations on the way, about so many; with one, the weights of the last epoch are kept.
    """
    batch = own.batch_size
    if looks == 1:
        repeat = (steps - 1) * batch // images + 1  # the fewest that give one epoch of as many steps
    else:
        repeat = max(1, round(steps * batch / (looks * images)))
    epochs = ceil(steps / ceil(repeat * images / batch))
    return msgspec.structs.replace(
        own, epochs=epochs, repeat=repeat, seed=seed, val_every=1 if looks > 1 else epochs
    )


def judged(
    workspace: Workspace, sets: Sets, model: Model, folder: Path, reporter: Reporter
) -> dict[str, Any]:
    """Metrics and counts on the validation set and on every test set, by name."""
    made = {}
    for name, images in {"validation": sets.validation, **sets.tests}.items():
        shards = _shards(folder, name)
        with reporter.progress(f"{model.id}: {name}") as progress:
            metrics = service.judge(workspace, model, images, shards, progress)
        counts = count(images, ShardStore(shards).load().boxes_by_image())
        made[name] = (
            asdict(metrics) | asdict(counts) | {"precision": counts.precision, "recall": counts.recall}
        )
    return made


def counting(sets: Sets, folder: Path) -> float | None:
    """How well a model that was judged in a folder counts the boxes of the validation set; `al_loop.evaluation.detection_counts`."""
    return count_r2(sets.validation, ShardStore(_shards(folder, "validation")).load().boxes_by_image())


def _shards(folder: Path, name: str) -> Path:
    """The predictions on a set in the folder of a run."""
    return folder / "judged" / name
