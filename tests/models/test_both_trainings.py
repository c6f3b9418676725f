"""Both trainings of a model on real parts: the small network, a few steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec import structs
from support.factories import write_checkpoint

from al_loop.core.console import Silent
from al_loop.core.files import file_sha256
from al_loop.core.training_config import SelfTrainingConfig
from al_loop.images import repository
from al_loop.models.model_training import TrainingImages
from al_loop.models.pretrain import import_checkpoint
from al_loop.models.promotion import promotion_sets
from al_loop.models.self_training import Pool, train_with_pool
from al_loop.state.workspace import Workspace

pytestmark = pytest.mark.train


def both(workspace: Workspace, folder: Path, tell: Silent, **options: Any) -> dict[str, Any]:
    """Train with a few images, and with those of the pool."""
    settings = SelfTrainingConfig(**{"mode": "on", **options})
    here = workspace.with_settings(structs.replace(workspace.config, self_training=settings))
    start = import_checkpoint(here, str(write_checkpoint(folder.parent / "m.pth")), None, tell)
    validation = repository.validation(here)
    images = TrainingImages(validation, validation)
    pool = Pool(repository.unlabelled(here), 2, promotion_sets(here))
    train = structs.replace(here.config.train, steps=2, val_every=1)
    return train_with_pool(here, folder, start, images, pool, train, tell)


def test_a_weak_model_learns_soft_targets(small: Workspace, tmp_path: Path) -> None:
    tell = Silent()
    output = both(small, tmp_path / "model", tell)
    summary = output["self_training"]
    assert summary["targets"] == "soft"
    assert summary["thresholds"] == {"bolt": None, "nut": None}
    assert set(summary["seconds"]) == {"supervised", "self-trained"}
    assert file_sha256(tmp_path / "model" / "weights.pth") == output["weights_sha256"]
    assert any("2 more steps" in line and "class distributions" in line for line in tell.lines)
    log = (tmp_path / "model" / "self-trained" / "training" / "train.log").read_text()
    assert "unlabelled_loss_cls" in log


def test_without_a_precise_class_there_are_no_labels(small: Workspace, tmp_path: Path) -> None:
    output = both(small, tmp_path / "model", Silent(), targets="hard")
    reason = "the model's boxes of no class are precise enough to learn from"
    assert output["self_training"] == {"used": False, "reason": reason}
    assert (tmp_path / "model" / "weights.pth").is_file()
