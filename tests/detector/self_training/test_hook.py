"""Training with unlabelled images, on real parts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from support.training import stop_after, training_job

from al_loop.detector.self_training import hook
from al_loop.detector.self_training.settings import UnlabelledPart
from al_loop.detector.training.launcher import train_in_processes
from al_loop.detector.training.train import train


def part(sets: Any, *thresholds: float | None, **options: Any) -> UnlabelledPart:
    """The last twelve training images, without their labels."""
    return UnlabelledPart([item.image for item in sets[0][12:]], 4, thresholds, **options)


@pytest.fixture
def few(sets: Any) -> Any:
    return sets[0][:4], sets[1]


@pytest.mark.train
@pytest.mark.parametrize(
    ("soft", "precision"), [(False, None), pytest.param(True, "bf16", marks=pytest.mark.slow)]
)
def test_a_good_teacher_holds_what_the_model_knows(
    trained: Any, few: Any, sets: Any, config: Any, tmp_path: Path, soft: bool, precision: str | None
) -> None:
    start = trained[0]
    options: dict[str, Any] = {"steps": 12, "batch_size": 4, "val_every": 12, "precision": precision}
    job = training_job(config, few, tmp_path / "work", start.weights, lr=5e-4, **options)
    texts: list[str] = []
    result = train(
        replace(job, unlabelled=part(sets, 0.5, 0.5, soft=soft)), lambda *step: texts.append(step[2])
    )
    assert len(texts) == 12
    assert result.best_ap > 0.8 * start.best_ap


@pytest.mark.slow
@pytest.mark.train
def test_a_killed_training_goes_on(
    few: Any, sets: Any, config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in the third step. The weight of the unlabelled images goes on rising."""
    weights: list[tuple[int, float]] = []
    record = hook.SelfTraining.before_train_iter

    def recorded(self: Any, runner: Any, *rest: Any, **named: Any) -> None:
        record(self, runner, *rest, **named)
        weights.append((runner.iter, self._weight))

    monkeypatch.setattr(hook.SelfTraining, "before_train_iter", recorded)
    job = training_job(config, few, tmp_path / "work", steps=4, batch_size=4, lr=1e-4)
    job = replace(job, unlabelled=part(sets, 0.5, None, weight=2.0))
    monkeypatch.setattr(hook, "_RISE", 1.0)
    with pytest.raises(KeyboardInterrupt):
        train(job, stop_after(3))
    assert train(job).steps == 4
    assert weights == [(0, 0.5), (1, 1.0), (2, 1.5), (2, 1.5), (3, 2.0)]


@pytest.mark.slow
@pytest.mark.train
def test_a_useless_teacher_does_no_harm(few: Any, sets: Any, config: Any, tmp_path: Path) -> None:
    """Random weights, and no class has a threshold: labelled images alone are learnt."""
    job, alone = (
        training_job(config, few, tmp_path / str(workers), steps=2, batch_size=4, lr=1e-3, workers=workers)
        for workers in (1, 0)
    )
    result = train(replace(job, unlabelled=part(sets, None, None)))
    assert all(torch.isfinite(tensor).all() for tensor in result.weights.values())
    assert result.best_ap >= train(alone).best_ap - 0.01


@pytest.mark.slow
@pytest.mark.parametrize("soft", [False, True])
def test_two_processes_share_the_unlabelled_images(
    few: Any, sets: Any, config: Any, tmp_path: Path, soft: bool
) -> None:
    job = training_job(config, few, tmp_path / "work", steps=3, val_every=3, batch_size=4, lr=1e-4)
    job = replace(job, unlabelled=part(sets, 0.05, None, soft=soft))
    result = train_in_processes(job, 2, 1)
    assert result.steps == 3
    assert all(torch.isfinite(tensor).all() for tensor in result.weights.values())
    assert "unlabelled_loss_cls" in (tmp_path / "work" / "train.log").read_text()
