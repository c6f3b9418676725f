"""The second training, with unlabelled images, and which of both models is kept; trainings are simulated."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs
from support.metrics import compared, metrics
from support.small_loop import SmallLoop, small_loop

from al_loop.core.console import Silent
from al_loop.core.errors import TrainingError
from al_loop.core.training_config import SelfTrainingConfig, TrainConfig
from al_loop.detector.self_training.settings import UnlabelledPart
from al_loop.images import repository
from al_loop.loop.cycle import run_cycle
from al_loop.models import evaluation, model_training, self_training
from al_loop.models.model_training import TrainingImages
from al_loop.models.promotion import promotion_sets
from al_loop.models.self_training import (
    Pool,
    images_per_step,
    reason_against,
    sample_unlabelled,
    train_with_pool,
)
from al_loop.report.write import report_json, write_report
from al_loop.state import model_registry
from al_loop.state.model_registry import Model
from al_loop.state.workspace import Workspace
from strategies import Ids


def switched_on(workspace: Workspace, **options: Any) -> Workspace:
    settings = SelfTrainingConfig(**{"mode": "on", **options})
    train = TrainConfig(steps=3, batch_size=4)
    return workspace.with_settings(structs.replace(workspace.config, self_training=settings, train=train))


@pytest.fixture
def loop(workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SmallLoop:
    loop = small_loop(workspace, tmp_path, monkeypatch, images=40, judged=True)
    loop.workspace = switched_on(workspace)
    monkeypatch.setattr(self_training, "unlabelled_part", part_of)
    return loop


def part_of(
    workspace: Workspace, model: Model, validation: object, pool: Pool, per_step: int, reporter: object
) -> tuple[UnlabelledPart, str]:
    return UnlabelledPart(pool.unlabelled, per_step, (0.5, None)), "boxes of 1 of 2 classes"


@pytest.fixture
def difference(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Set the AP of the self-trained model minus that of the supervised one."""

    def set_to(value: float) -> None:
        comparison, aps = compared(value, value - 0.1, value + 0.1), [metrics(0.5), metrics(0.5 + value)]
        monkeypatch.setattr("al_loop.evaluation.measure.differ", lambda *_, **__: comparison)
        monkeypatch.setattr("al_loop.evaluation.measure.measure", lambda *_, **__: aps.pop())

    return set_to


def images_of(workspace: Workspace) -> TrainingImages:
    validation = repository.validation(workspace)
    return TrainingImages(validation, validation)


def trained(workspace: Workspace, folder: Path, tell: Silent, pool: Pool | None = None) -> dict[str, Any]:
    """Return the output of both trainings."""
    images, settings = images_of(workspace), workspace.config.train
    return train_with_pool(workspace, folder, None, images, pool or pool_of(workspace), settings, tell)


def pool_of(workspace: Workspace, unlabelled: int = 20) -> Pool:
    return Pool(repository.unlabelled(workspace)[:unlabelled], 2, promotion_sets(workspace))


def test_images_per_step_by_hand() -> None:
    half, little = SelfTrainingConfig(), SelfTrainingConfig(unlabelled_fraction=0.1)
    assert [images_per_step(half, batch, 1) for batch in (1, 2, 4, 5)] == [0, 1, 2, 2]
    assert images_per_step(little, 8, 1) == 1
    assert images_per_step(SelfTrainingConfig(unlabelled_fraction=0.99), 4, 1) == 3
    # Two GPUs share both kinds evenly.
    assert [images_per_step(half, batch, 2) for batch in (2, 4, 8)] == [0, 2, 4]


def test_reasons_to_learn_from_labels_alone(loop: SmallLoop) -> None:
    pool = pool_of(loop.workspace)
    on, auto = SelfTrainingConfig(mode="on"), SelfTrainingConfig(mode="auto")
    assert reason_against(on, pool, 2) is None
    assert reason_against(auto, pool, 2) is None
    assert "raise batch_size" in (reason_against(on, pool, 0) or "")
    few = pool_of(loop.workspace, 1)
    assert reason_against(on, few, 2) == "1 unlabelled images, fewer than the 2 of a step"
    assert reason_against(on, few, 1) is None
    assert "fewer than labelled" in (reason_against(auto, few, 1) or "")


def test_unlabelled_images_without_labels_and_evaluation_images(loop: SmallLoop, tmp_path: Path) -> None:
    workspace, settings = loop.workspace, loop.workspace.config.train
    pool = Ids.of(repository.unlabelled_ids(workspace))
    known = set(pool[:30])
    drawn = sample_unlabelled(workspace, settings, lambda: pool, known, 5)
    assert len(drawn) == 6  # three steps of two images
    assert not known & {image.id for image in drawn}
    assert drawn == sample_unlabelled(workspace, settings, lambda: pool, known, 5)
    other = structs.replace(settings, seed=1)
    assert drawn != sample_unlabelled(workspace, other, lambda: pool, known, 5)
    # Images of an evaluation set are none of the pool, even if a list names them.
    evaluated = Ids.of([item.image.id for item in repository.validation(workspace)])
    assert sample_unlabelled(workspace, settings, lambda: evaluated, (), 5) == []
    off = switched_on(workspace, mode="off")
    assert sample_unlabelled(off, settings, lambda: pool, (), 5) == []


def test_linked_images_are_left_out(loop: SmallLoop) -> None:
    pool = Ids.of(repository.unlabelled_ids(loop.workspace))
    loop.workspace.store.execute("UPDATE images SET file = 's3://b/' || id || '.png' WHERE role = 'pool'")
    assert sample_unlabelled(loop.workspace, loop.workspace.config.train, lambda: pool, (), 5) == []


@pytest.mark.parametrize(("value", "kept"), [(0.04, "self-trained"), (-0.01, "supervised")])
def test_the_better_model_is_kept(
    loop: SmallLoop, tmp_path: Path, difference: Any, value: float, kept: str
) -> None:
    difference(value)
    tell = Silent()
    workspace, folder = loop.workspace, tmp_path / "model"
    output = trained(workspace, folder, tell)
    summary = output["self_training"]
    assert summary["used"] == (kept == "self-trained")
    assert summary["differences"]["validation"]["value"] == value
    assert summary["thresholds"] == {"bolt": 0.5, "nut": None}
    assert set(summary["seconds"]) == {"supervised", "self-trained"}
    assert tell.lines[0] == (
        "  self-training: 3 more steps, 20 unlabelled images, the teacher's boxes of 1 of 2 classes"
    )
    verdict = "used" if summary["used"] else "not used"
    assert tell.lines[1].startswith(f"  self-training: {verdict}: AP 0.500 → {0.5 + value:.3f}, {value:+.3f}")
    assert tell.lines[1].endswith("; 0 s after 0 s on labels")
    # The second training has fewer labelled images in a batch, and as many steps.
    assert [(each.batch_size, each.steps) for each in loop.trained] == [(4, 3), (2, 3)]
    assert (folder / "weights.pth").is_file()
    assert (folder / "config.json").is_file()
    assert not list(folder.glob("*/weights.pth"))


def test_a_killed_run_repeats_no_training(
    loop: SmallLoop, tmp_path: Path, difference: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, folder, train = loop.workspace, tmp_path / "model", model_training.train_model
    arguments = workspace, folder, Silent()

    def killed(*args: Any) -> Any:
        if args[3].unlabelled is not None:
            raise KeyboardInterrupt
        return train(*args)

    monkeypatch.setattr(model_training, "train_model", killed)
    with pytest.raises(KeyboardInterrupt):
        trained(*arguments)
    monkeypatch.setattr(model_training, "train_model", train)
    monkeypatch.setattr(self_training.shutil, "copyfile", kill)
    difference(0.1)
    with pytest.raises(KeyboardInterrupt):
        trained(*arguments)
    monkeypatch.undo()
    difference(0.1)
    monkeypatch.setattr(self_training, "unlabelled_part", part_of)
    monkeypatch.setattr(evaluation, "predictions_on", lambda *_: {})
    output = trained(*arguments)
    assert output["self_training"]["used"]
    assert len(loop.trained) == 2  # one of each kind
    assert trained(*arguments) == output


def kill(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_second_training_that_fails_keeps_the_first_model(
    loop: SmallLoop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, tell = model_training.train_model, Silent()

    def failing(*args: Any) -> Any:
        if args[3].unlabelled is not None:
            raise TrainingError("the loss became nan in step 7")
        return train(*args)

    monkeypatch.setattr(model_training, "train_model", failing)
    output = trained(loop.workspace, tmp_path / "model", tell)
    assert output["self_training"] == {"used": False, "reason": "the loss became nan in step 7"}
    assert tell.lines[-1] == "  self-training: not used: the loss became nan in step 7"


def test_a_small_pool_is_left_out_and_said(loop: SmallLoop, tmp_path: Path) -> None:
    tell, workspace = Silent(), loop.workspace
    (tmp_path / "model").mkdir()
    output = trained(workspace, tmp_path / "model", tell, pool_of(workspace, 1))
    assert "self_training" not in output
    assert tell.lines == ["  self-training: left out, 1 unlabelled images, fewer than the 2 of a step"]
    assert len(loop.trained) == 1


@pytest.mark.integration
def test_a_cycle_learns_from_its_pool(loop: SmallLoop, tmp_path: Path) -> None:
    """Of forty images, ten are picked and labelled; six of the others are drawn."""
    config = loop.workspace.config
    here = loop.workspace.with_settings(structs.replace(config, cycle=structs.replace(config.cycle, k=10)))
    tell = Silent()
    assert run_cycle(here, None, tell).finished
    assert any("6 unlabelled images" in line for line in tell.lines)
    output = model_training.training_notes(here, model_registry.get_model(here, "cycle-1"))
    assert output["self_training"]["differences"].keys() == {"validation"}
    assert loop.images == [10, 10]
    [cycle] = json.loads(report_json(here))["cycles"]
    assert output["self_training"]["reason"] in cycle["self_training"]
    page = write_report(here, tmp_path / "report.html").read_text()
    assert f"Self-training {cycle['self_training'].partition(',')[0]}" in page
