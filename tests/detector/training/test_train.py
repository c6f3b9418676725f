"""Training on real parts: it learns, resumes after a kill, stops early, refuses nonsense."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.factories import CLASSES

from al_loop.core.errors import ModelError, TrainingError
from al_loop.detector.checkpoint import load_into, read_weights, write_weights
from al_loop.detector.config.model_config import build_model
from al_loop.detector.device import choose_device
from al_loop.detector.inference.scoring import ScoreSettings, score_images
from al_loop.detector.training.settings import TrainSettings
from al_loop.detector.training.train import discard_work_files, train
from al_loop.evaluation.evaluate import evaluate
from al_loop.state.prediction_store import ShardStore
from al_loop.structures.images import LabelledImage

pytestmark = pytest.mark.train
QUICK = TrainSettings(
    epochs=3, batch_size=8, lr=1e-3, val_every=1, patience=9, repeat=1, workers=0, seed=0, device="cpu"
)


def test_it_learns_and_validates_as_scoring_does(
    trained: Any, detector: Any, sets: Any, tmp_path: Path
) -> None:
    result, folder, steps = trained
    assert result.best_ap > 0.15
    assert result.epochs == 14
    assert len(result.validations) == 2
    assert steps[-1][0] == steps[-1][1] == 14 * 6
    assert "loss" in steps[-1][2]
    assert len(result.quality) == len(CLASSES)
    assert all(0.1 < quality < 1 for quality in result.quality)
    store = ShardStore(tmp_path)
    images = [item.image for item in sets[1]]
    score_images(detector, images, store, ScoreSettings(0.05, 4, 0, 64))
    scored = store.load()
    predicted = scored.boxes_by_image()
    assert evaluate(sets[1], predicted, CLASSES).ap == pytest.approx(result.best_ap, abs=1e-3)
    assert (folder / "train.log").read_text()


def test_a_killed_training_goes_on(sets: Any, config: Any, tmp_path: Path) -> None:
    def kill(done: int, total: int, text: str) -> None:
        if done == 5:  # 3 steps an epoch: in the middle of the second
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(config, None, *sets, QUICK, tmp_path / "work", kill)
    assert (tmp_path / "work" / "last_checkpoint").is_file()
    steps: list[int] = []
    result = train(config, None, *sets, QUICK, tmp_path / "work", lambda done, *_: steps.append(done))
    assert steps == [4, 5, 6, 7, 8, 9]
    assert result.epochs == 3
    # The first epoch's checkpoint was written before its validation, which the kill took with it.
    assert len(result.validations) == 2


def test_killed_while_a_checkpoint_is_written(sets: Any, config: Any, tmp_path: Path) -> None:
    """The newest checkpoint is cut off: the one before is whole, and the training goes on there."""
    work = tmp_path / "work"

    def kill(done: int, total: int, text: str) -> None:
        if done == 7:  # in the third epoch: those of the first two are there
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(config, None, *sets, QUICK, work, kill)
    assert sorted(p.name for p in work.glob("epoch_*.pth")) == ["epoch_1.pth", "epoch_2.pth"]
    whole = (work / "epoch_2.pth").read_bytes()
    (work / "epoch_2.pth").write_bytes(whole[: len(whole) // 2])
    steps: list[int] = []
    assert train(config, None, *sets, QUICK, work, lambda done, *_: steps.append(done)).epochs == 3
    assert steps == [4, 5, 6, 7, 8, 9]
    for path in work.glob("epoch_*.pth"):
        path.write_bytes(b"cut")
    steps.clear()
    train(config, None, *sets, QUICK, work, lambda done, *_: steps.append(done))
    assert steps[0] == 1  # none is whole: from the start


def test_killed_in_its_last_validation(
    sets: Any, config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    import al_loop.detector.training.metric as metric

    def kill(*_: Any) -> None:
        raise KeyboardInterrupt

    once = replace(QUICK, epochs=1)
    with monkeypatch.context() as patch:
        patch.setattr(metric, "evaluate", kill)
        with pytest.raises(KeyboardInterrupt):
            train(config, None, *sets, once, tmp_path / "work")
    steps: list[int] = []
    result = train(config, None, *sets, once, tmp_path / "work", lambda done, *_: steps.append(done))
    assert steps == []
    assert len(result.validations) == 1
    assert result.best_ap == result.validations[0]


def test_as_many_steps_as_asked_also_after_a_kill(sets: Any, config: Any, tmp_path: Path) -> None:
    """Epochs of 6 steps, 8 in all: the second is cut short, and validated as any other."""
    from dataclasses import replace

    def kill(done: int, total: int, text: str) -> None:
        if done == 7:
            raise KeyboardInterrupt

    cut = replace(QUICK, epochs=2, repeat=2, steps=8)
    with pytest.raises(KeyboardInterrupt):
        train(config, None, *sets, cut, tmp_path / "work", kill)
    steps: list[tuple[int, int]] = []
    result = train(config, None, *sets, cut, tmp_path / "work", lambda *step: steps.append(step[:2]))
    assert steps == [(7, 8), (8, 8)]
    assert result.epochs == 2
    assert result.best_ap == max(result.validations)
    log = (tmp_path / "work" / "train.log").read_text()
    assert "Saving checkpoint at 2 epochs" in log


def test_the_best_weights_survive_a_worse_resumption(
    sets: Any, config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import al_loop.detector.training.metric as metric
    from al_loop.structures.metrics import Metrics

    aps = iter([0.5, 0.2, 0.3])
    monkeypatch.setattr(metric, "evaluate", lambda *_: Metrics(next(aps), 0, 0, {}, 0, 0))

    def kill(done: int, total: int, text: str) -> None:
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(config, None, *sets, QUICK, tmp_path / "work", kill)
    best = read_weights(tmp_path / "work" / "best.pth")
    result = train(config, None, *sets, QUICK, tmp_path / "work")
    assert result.best_ap == 0.5
    assert all(torch.equal(result.weights[name], tensor) for name, tensor in best.items())


def test_early_stop(sets: Any, config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import al_loop.detector.training.metric as metric
    from al_loop.structures.metrics import Metrics

    aps = iter([0.3, 0.5, 0.4, 0.45, 0.2, 0.9])
    monkeypatch.setattr(metric, "evaluate", lambda *_: Metrics(next(aps), 0, 0, {}, 0, 0))
    from dataclasses import replace

    result = train(
        config, None, sets[0][:8], sets[1][:1], replace(QUICK, epochs=6, patience=3), tmp_path / "work"
    )
    assert result.validations == [0.3, 0.5, 0.4, 0.45, 0.2]
    assert result.epochs == 5
    assert result.best_ap == 0.5


def test_starts_from_given_weights(trained: Any, sets: Any, config: Any, tmp_path: Path) -> None:
    from dataclasses import replace

    crawl = replace(QUICK, epochs=1, lr=1e-9)
    result = train(config, trained[0].weights, sets[0][:8], sets[1], crawl, tmp_path / "work")
    name = "roi_head.bbox_head.fc_cls.weight"
    np.testing.assert_allclose(result.weights[name].numpy(), trained[0].weights[name].numpy(), atol=1e-6)


def test_nothing_to_learn_from(sets: Any, config: Any, tmp_path: Path, make_boxes: Any) -> None:
    empty = [LabelledImage(item.image, make_boxes()) for item in sets[0][:3]]
    with pytest.raises(TrainingError, match="3 images without a single box"):
        train(config, None, empty, sets[1], QUICK, tmp_path / "work")


def test_images_without_boxes_take_part(sets: Any, config: Any, tmp_path: Path, make_boxes: Any) -> None:
    from dataclasses import replace

    mixed = [LabelledImage(sets[0][0].image, make_boxes()), *sets[0][1:4]]
    steps: list[int] = []
    settings = replace(QUICK, epochs=1, batch_size=2)
    train(config, None, mixed, sets[1][:1], settings, tmp_path / "work", lambda done, *_: steps.append(done))
    assert steps == [1, 2]


def test_a_loss_that_is_not_finite_stops_the_training(sets: Any, config: Any, tmp_path: Path) -> None:
    from dataclasses import replace

    with pytest.raises(TrainingError, match=r"the loss became .* in step \d+.*pretrain.lr"):
        train(config, None, *sets, replace(QUICK, lr=1e30), tmp_path / "work")


def test_unknown_device() -> None:
    with pytest.raises(TrainingError, match='Set device = "auto"'):
        choose_device("cuda:77")


def test_work_files_go_and_logs_stay(tmp_path: Path) -> None:
    for name in ("epoch_1.pth", "last_checkpoint", "train.log", "train.json"):
        (tmp_path / name).touch()
    discard_work_files(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["train.json", "train.log"]


class Evil:
    """What a malicious checkpoint holds: something that runs when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


def test_a_checkpoint_that_runs_code_is_refused_and_runs_nothing(tmp_path: Path) -> None:
    torch.save({"state_dict": {}, "meta": Evil(tmp_path / "pwned")}, tmp_path / "evil.pth")
    with pytest.raises(
        ModelError, match=r"evil.pth was refused: it holds more than weights and would run code"
    ):
        read_weights(tmp_path / "evil.pth")
    assert not (tmp_path / "pwned").exists()


def test_getattr_in_a_checkpoint_reaches_nothing_but_statistics(tmp_path: Path) -> None:
    class Reach:
        def __reduce__(self) -> tuple[Any, ...]:
            from mmengine.logging import HistoryBuffer

            return (getattr, (HistoryBuffer, "__init__"))

    torch.save({"state_dict": {}, "meta": Reach()}, tmp_path / "reach.pth")
    with pytest.raises(ModelError, match="was refused"):
        read_weights(tmp_path / "reach.pth")


def test_truncated_missing_and_other_files(trained: Any, tmp_path: Path) -> None:
    write_weights(tmp_path / "ok.pth", trained[0].weights)
    whole = (tmp_path / "ok.pth").read_bytes()
    (tmp_path / "cut.pth").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.pth").write_text("not a checkpoint")
    torch.save([1, 2, 3], tmp_path / "list.pth")
    for name, says in (
        ("cut.pth", "is not a complete checkpoint"),
        ("none.pth", "no checkpoint at"),
        ("list.pth", "holds no weights"),
    ):
        with pytest.raises(ModelError, match=says):
            read_weights(tmp_path / name)
    with pytest.raises(ModelError):
        read_weights(tmp_path / "text.pth")
    with pytest.raises(ModelError, match=r"has SHA-256 .* expected abc"):
        read_weights(tmp_path / "ok.pth", "abc")


def test_weights_come_back_as_they_went(trained: Any, tmp_path: Path) -> None:
    write_weights(tmp_path / "w.pth", trained[0].weights)
    back = read_weights(tmp_path / "w.pth")
    assert back.keys() == trained[0].weights.keys()
    assert all(torch.equal(back[n], t) for n, t in trained[0].weights.items())


def test_another_class_count_and_another_architecture(trained: Any, config: Any, tmp_path: Path) -> None:
    from al_loop.detector.config.model_config import load_model_config

    three = build_model(load_model_config("small", ("a", "b", "c"), (96, 64)))
    with pytest.raises(ModelError, match="was trained for 2 classes, this workspace has 3"):
        load_into(three, trained[0].weights, "x.pth")
    load_into(three, trained[0].weights, "x.pth", new_classes=True)
    same = trained[0].weights["backbone.conv1.weight"]
    assert torch.equal(three.state_dict()["backbone.conv1.weight"], same)
    deeper = build_model(load_model_config("r50", CLASSES))
    with pytest.raises(ModelError, match=r"another architecture.*--config"):
        load_into(deeper, trained[0].weights, "x.pth")
    broken = {n: t * float("nan") if t.is_floating_point() else t for n, t in trained[0].weights.items()}
    with pytest.raises(ModelError, match="not finite"):
        load_into(build_model(config), broken, "x.pth")


def test_the_largest_seed_and_the_ends_of_the_learning_rate(sets: Any, config: Any, tmp_path: Path) -> None:
    """A worker adds its number to the seed, of which numpy takes 32 bits. A loss that is not finite is an answer."""
    from contextlib import suppress
    from dataclasses import replace

    few = sets[0][:4], sets[1][:1]
    low = replace(QUICK, epochs=1, seed=2**32 - 1, lr=1e-12, workers=2)
    assert train(config, None, *few, low, tmp_path / "low").epochs == 1
    with suppress(TrainingError):
        train(config, None, *few, replace(QUICK, epochs=1, lr=10.0), tmp_path / "high")
