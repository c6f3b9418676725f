"""Training on real parts: it learns, resumes after a kill, stops early, refuses unusable input."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from support.factories import CLASSES
from support.training import stop_after, training_job

import al_loop.detector.training.metric as metric
from al_loop.core.errors import TrainingError
from al_loop.detector.checkpoint import read_weights
from al_loop.detector.device import choose_device
from al_loop.detector.inference.scoring import ScoreSettings, score_images
from al_loop.detector.training.hooks import KeepBest, ReportProgress
from al_loop.detector.training.resume import discard_work_files
from al_loop.detector.training.train import train
from al_loop.evaluation.evaluate import evaluate
from al_loop.state.prediction_store import ShardStore
from al_loop.structures.images import LabelledImage


@pytest.fixture
def few(sets: Any) -> Any:
    """Eight images, all in each step, and one to validate on."""
    return sets[0][:8], sets[1][:1]


def validate_as(monkeypatch: pytest.MonkeyPatch, *aps: float) -> None:
    """Let the validations of a training have these APs."""
    left = iter(aps)
    monkeypatch.setattr(metric, "key_value", lambda *_: next(left))


def checkpoint(folder: Path, step: int) -> Any:
    """The checkpoint of a step: `state_dict` has the averages, `ema_state_dict` the weights."""
    return torch.load(folder / f"iter_{step}.pth", weights_only=False)


@pytest.mark.train
def test_it_learns_and_validates_as_scoring_does(
    trained: Any, detector: Any, sets: Any, tmp_path: Path
) -> None:
    result, folder, steps = trained
    assert result.best_ap > 0.15
    assert result.steps == 84
    assert len(result.validations) == 2
    assert steps[-1][:2] == (84, 84)
    assert "loss" in steps[-1][2]
    assert len(result.quality) == len(CLASSES)
    assert all(0.1 < quality < 1 for quality in result.quality)
    store = ShardStore(tmp_path)
    score_images(detector, [item.image for item in sets[1]], store, ScoreSettings(0.05, 4, 0, 64))
    predicted = store.load().boxes_by_image()
    assert evaluate(sets[1], predicted, CLASSES).ap == pytest.approx(result.best_ap, abs=1e-3)
    assert (folder / "train.log").read_text()


@pytest.mark.train
def test_a_killed_training_goes_on(
    few: Any, config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Validated after every two steps, killed in the seventh; the checkpoint of the sixth is cut off."""
    validate_as(monkeypatch, 0.5, 0.2, 0.3, 0.2, 0.3, 0.1)
    job = training_job(config, few, tmp_path / "work", steps=8, val_every=2, lr=1e-4)
    with pytest.raises(KeyboardInterrupt):
        train(job, stop_after(7))
    checkpoints = sorted((tmp_path / "work").glob("iter_*.pth"))
    assert [path.name for path in checkpoints] == ["iter_4.pth", "iter_6.pth"]
    whole = checkpoints[1].read_bytes()
    checkpoints[1].write_bytes(whole[: len(whole) // 2])
    best = read_weights(tmp_path / "work" / "best.pth")
    steps: list[int] = []
    result = train(job, lambda done, *_: steps.append(done))
    assert steps == [5, 6, 7, 8]
    assert result.steps == 8
    # The fourth step is validated again: its checkpoint was written before its validation.
    assert result.validations == [0.5, 0.2, 0.3, 0.1]
    assert result.best_ap == 0.5
    assert all(torch.equal(result.weights[name], tensor) for name, tensor in best.items())
    for path in (tmp_path / "work").glob("iter_*.pth"):
        path.write_bytes(b"cut")
    with pytest.raises(KeyboardInterrupt):  # none is whole: from the start
        train(job, stop_after(1))
    assert not (tmp_path / "work" / "best.pth").exists()


@pytest.mark.train
def test_killed_in_its_last_validation(
    few: Any, config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill(*_: Any) -> None:
        raise KeyboardInterrupt

    job = training_job(config, few, tmp_path / "work", steps=1)
    with monkeypatch.context() as patch:
        patch.setattr(metric, "key_value", kill)
        with pytest.raises(KeyboardInterrupt):
            train(job)
    steps: list[int] = []
    result = train(job, lambda done, *_: steps.append(done))
    assert steps == []
    assert len(result.validations) == 1
    assert result.best_ap == result.validations[0]


@pytest.mark.train
def test_a_resumed_training_ends_as_one_without_a_kill(sets: Any, config: Any, tmp_path: Path) -> None:
    """Killed in the fifth step, resumed at the checkpoint of the third, with another number of workers."""
    results = []
    for name in ("whole", "killed"):
        images = sets[0], sets[1][:1]
        job = training_job(config, images, tmp_path / name, steps=7, val_every=3, batch_size=4)
        if name == "killed":
            with pytest.raises(KeyboardInterrupt):
                train(job, stop_after(5))
            job = replace(job, run=replace(job.run, workers=1))
        results.append(train(job))
    whole, killed = results
    assert (killed.steps, killed.validations, killed.quality) == (7, whole.validations, whole.quality)
    last, other = (checkpoint(tmp_path / name, 7) for name in ("whole", "killed"))
    for kind in ("state_dict", "ema_state_dict"):
        assert all(torch.equal(last[kind][name], tensor) for name, tensor in other[kind].items())


@pytest.mark.train
@pytest.mark.parametrize(("decay", "momentum"), [(0.998, 10 / 13), (0.1, 0.9), (1e-20, 0.999)])
def test_the_moving_average_is_validated_and_kept(
    few: Any, config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decay: float, momentum: float
) -> None:
    """After three steps a decay of 3 / 13 is the largest. The statistics of batch normalisation count."""
    validate_as(monkeypatch, 0.1, 0.2, 0.3, 0.4)
    result = train(training_job(config, few, tmp_path, steps=4, ema=decay))
    before, after = (checkpoint(tmp_path, step) for step in (3, 4))
    names = [name for name, tensor in result.weights.items() if tensor.is_floating_point()]
    assert any("running_var" in name for name in names)
    for name in names:
        weights = after["ema_state_dict"][f"module.{name}"]
        expected = torch.lerp(before["state_dict"][name], weights, momentum)
        torch.testing.assert_close(result.weights[name], expected)
    assert not torch.equal(weights, expected)


@pytest.mark.train
def test_without_a_moving_average_the_weights_are_kept(few: Any, config: Any, tmp_path: Path) -> None:
    result = train(training_job(config, few, tmp_path, steps=1, ema=0.0))
    last = checkpoint(tmp_path, 1)
    assert "ema_state_dict" not in last
    assert all(torch.equal(result.weights[name], tensor) for name, tensor in last["state_dict"].items())


@pytest.mark.train
def test_early_stop(few: Any, config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    validate_as(monkeypatch, 0.3, 0.5, 0.4, 0.45, 0.2, 0.9)
    result = train(training_job(config, few, tmp_path / "work", steps=6, patience=3))
    assert result.validations == [0.3, 0.5, 0.4, 0.45, 0.2]
    assert result.steps == 5
    assert result.best_ap == 0.5


@pytest.mark.train
def test_starts_from_given_weights_and_takes_images_without_boxes(
    trained: Any, few: Any, config: Any, tmp_path: Path, make_boxes: Any
) -> None:
    """With the largest seed: numpy takes 32 bits, and each worker adds its number."""
    mixed = [LabelledImage(few[0][0].image, make_boxes()), *few[0][1:4]], few[1]
    limits: dict[str, Any] = {"lr": 1e-12, "seed": 2**32 - 1, "workers": 2}
    steps: list[int] = []
    start = trained[0].weights
    job = training_job(config, mixed, tmp_path / "work", start, batch_size=2, val_every=2, **limits)
    result = train(job, lambda done, *_: steps.append(done))
    assert steps == [1, 2]
    name = "roi_head.bbox_head.fc_cls.weight"
    np.testing.assert_allclose(result.weights[name].numpy(), start[name].numpy(), atol=1e-6)


@pytest.mark.train
def test_a_loss_that_is_not_finite_stops_the_training(few: Any, config: Any, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"the loss became .* in step [23], on .*pretrain\.lr") as error:
        train(training_job(config, few, tmp_path / "work", steps=4, val_every=4, lr=1e30))
    named = re.findall(r"[\w-]+\.\w+(?=, | and 3 more\.)", str(error.value).partition(", on ")[2])
    assert len(named) == 5
    assert set(named) <= {item.image.path.name for item in few[0]}
    assert not (tmp_path / "work" / "best.pth").exists()
    with suppress(TrainingError):  # the largest rate of the settings ends in a result or in this error
        train(training_job(config, few, tmp_path / "high", steps=1, lr=10.0))


def test_only_labelled_images_of_a_step_are_named() -> None:
    from mmdet.structures import DetDataSample

    samples = [DetDataSample(metainfo={"img_path": "images/a.jpg"}), DetDataSample(metainfo={})]
    with pytest.raises(TrainingError, match=r"in step 3, on a\.jpg\. Lower"):
        ReportProgress(None).after_train_iter(
            SimpleNamespace(iter=2), 0, {"data_samples": samples}, {"loss": torch.tensor(torch.nan)}
        )


def test_weights_that_are_not_finite_are_never_kept(tmp_path: Path) -> None:
    """The loss of the last step is computed before its weights."""
    model = torch.nn.Linear(1, 1)
    runner = SimpleNamespace(model=model, iter=7)
    keep = KeepBest(tmp_path / "best.pth")
    keep.after_val_epoch(runner, {metric.KEY: 0.1})
    model.weight.data.fill_(torch.nan)
    with pytest.raises(TrainingError, match="no finite numbers after step 7"):
        keep.after_val_epoch(runner, {metric.KEY: 0.2})
    assert torch.isfinite(read_weights(keep.path)["weight"]).all()


def test_nothing_to_learn_from(few: Any, config: Any, tmp_path: Path, make_boxes: Any) -> None:
    empty = [LabelledImage(item.image, make_boxes()) for item in few[0][:3]]
    with pytest.raises(TrainingError, match="3 images without a single box"):
        train(training_job(config, (empty, few[1]), tmp_path / "work"))


def test_unknown_device() -> None:
    with pytest.raises(TrainingError, match='Set device = "auto"'):
        choose_device("cuda:77")


def test_work_files_go_and_logs_stay(tmp_path: Path) -> None:
    for name in ("iter_1.pth", "last_checkpoint", "train.log", "train.json"):
        (tmp_path / name).touch()
    discard_work_files(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["train.json", "train.log"]
