"""A training shared by two processes, on real parts: the losses of one, one that writes, clear errors, nobody left."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from al_loop.core.errors import ConfigError, DataError, TrainingError
from al_loop.detector.training import launcher
from al_loop.detector.training.ddp import share
from al_loop.detector.training.job import Job, read_job
from al_loop.detector.training.settings import TrainSettings
from al_loop.detector.training.train import train
from al_loop.structures.images import ImageFile, LabelledImage

pytestmark = pytest.mark.train
QUICK = TrainSettings(
    epochs=2, batch_size=8, lr=0.01, val_every=1, patience=9, repeat=1, workers=0, seed=0, device="cpu"
)


def two(*args: Any, **more: Any) -> Any:
    return launcher.train_in_processes(2, 1, *args, **more)


@pytest.fixture(scope="module")
def even(config: Any) -> Any:
    """The small model with nothing in it that depends on how a batch is divided.

    Its batch normalisation keeps its statistics, RPN and box head learn from all anchors and as many proposals of each
    image, instead of some drawn by lot, and plain SGD does not enlarge rounding.
    """
    even = config.copy()
    even.model.backbone.norm_eval = True
    rpn, rcnn = even.model.train_cfg.rpn, even.model.train_cfg.rcnn
    rpn.assigner.update(pos_iou_thr=0.5, neg_iou_thr=0.5)
    rpn.sampler.update(num=10_000)
    even.model.train_cfg.rpn_proposal.update(max_per_img=50, nms={"type": "nms", "iou_threshold": 1.0})
    rcnn.sampler.update(num=1000, add_gt_as_proposals=False)
    even.optim_wrapper = {
        "type": "OptimWrapper",
        "optimizer": {"type": "SGD", "lr": 0.01, "momentum": 0.9},
        "clip_grad": {"max_norm": 10, "norm_type": 2},
    }
    return even


class Curve:
    """Remembers the steps that were reported and their losses."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.losses: list[float] = []

    def __call__(self, done: int, total: int, text: str) -> None:
        self.steps.append(done)
        self.losses.append(float(text.split()[1].rstrip(",")))


def files(folder: Path) -> set[str]:
    """Names of the files there, without the time in them."""
    return {re.sub(r"^\d{8}_\d{6}", "TIME", path.name) for path in folder.iterdir() if path.is_file()}


def pids(pattern: str) -> list[int]:
    """Processes whose command line holds the pattern."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if pattern in line:
                found.append(int(folder.name))
    return sorted(found)


def gone(pattern: str, seconds: float = 20.0) -> bool:
    end = time.monotonic() + seconds
    while pids(pattern) and time.monotonic() < end:
        time.sleep(0.2)
    return not pids(pattern)


def test_two_processes_train_as_one_does(even: Any, sets: Any, tmp_path: Path) -> None:
    """24 images twice in three epochs are 18 steps: as many of them as asked."""
    one, shared = Curve(), Curve()
    settings = replace(QUICK, epochs=3, repeat=2, steps=14)
    alone = train(even, None, *sets, settings, tmp_path / "one", one)
    together = two(even, None, *sets, settings, tmp_path / "two", shared)
    assert shared.steps == one.steps == list(range(1, 15))
    assert one.losses[0] > 1.1 * one.losses[-1]
    # The reported losses have two digits.
    np.testing.assert_allclose(shared.losses, one.losses, atol=0.0101)
    logged = [
        [
            float(loss)
            for loss in re.findall(r"\bloss: ([0-9.]+)", (tmp_path / name / "train.log").read_text())
        ]
        for name in ("one", "two")
    ]
    assert len(logged[0]) == 2  # one line an epoch that is whole
    np.testing.assert_allclose(*logged, rtol=2e-4)  # four digits
    for name, tensor in alone.weights.items():
        torch.testing.assert_close(together.weights[name], tensor, rtol=1e-4, atol=1e-6)
    assert together.epochs == alone.epochs
    np.testing.assert_allclose(together.validations, alone.validations, atol=1e-3)
    np.testing.assert_allclose(together.quality, alone.quality, rtol=1e-4)
    # One of the two writes: what is there is what one process leaves, and each line is there once.
    assert files(tmp_path / "two") == files(tmp_path / "one") | {launcher.LOG}
    for name in ("one", "two"):
        log = (tmp_path / name / "train.log").read_text()
        assert log.count("Saving checkpoint at 1 epochs") == 1
        assert len(list((tmp_path / name).glob("*/*.log"))) == 1
    assert not (tmp_path / "two" / "processes").exists()
    assert gone(str(tmp_path))


@pytest.mark.slow
def test_with_the_small_models_own_normalisation_it_learns_as_well(
    config: Any, sets: Any, tmp_path: Path
) -> None:
    """Batch normalisation by half of the batch and other RoIs by lot: the same curve, not the same numbers."""
    one, shared = Curve(), Curve()
    settings = replace(QUICK, epochs=4, lr=1e-3, val_every=4)
    train(config, None, *sets, settings, tmp_path / "one", one)
    done = two(config, None, *sets, settings, tmp_path / "two", shared)
    np.testing.assert_allclose(shared.losses, one.losses, rtol=0.25)
    assert abs(np.mean(shared.losses) / np.mean(one.losses) - 1) < 0.1
    assert all(torch.isfinite(tensor).all() for tensor in done.weights.values())


def test_a_killed_process_is_one_clear_error_and_the_training_goes_on(
    config: Any, sets: Any, tmp_path: Path
) -> None:
    def kill(done: int, total: int, text: str) -> None:
        if done == 4 and (found := pids(f"al_loop.detector.training.worker {tmp_path}")):
            os.kill(found[-1], signal.SIGKILL)

    settings = replace(QUICK, lr=1e-3, epochs=3)
    with pytest.raises(
        TrainingError, match=r"process \d of 2 .* ended by signal 9 .*Run the same command again"
    ):
        two(config, None, *sets, settings, tmp_path / "work", kill)
    assert gone(str(tmp_path))
    curve = Curve()
    # The other way round too: one process goes on with what two have begun.
    assert (
        train(config, None, *sets, replace(settings, epochs=2), tmp_path / "work", lambda *_: None).epochs
        == 2
    )
    done = two(config, None, *sets, settings, tmp_path / "work", curve)
    assert curve.steps == [7, 8, 9]
    assert done.epochs == 3


def test_an_interruption_leaves_no_process(config: Any, sets: Any, tmp_path: Path) -> None:
    def interrupt(done: int, total: int, text: str) -> None:
        assert len(pids(f"al_loop.detector.training.worker {tmp_path}")) == 2
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        two(config, None, *sets, QUICK, tmp_path / "work", interrupt)
    assert gone(str(tmp_path), 5.0)


def test_a_killed_parent_leaves_no_process(config: Any, sets: Any, tmp_path: Path) -> None:
    folder = tmp_path / "job"
    folder.mkdir()
    settings = replace(QUICK, epochs=200)
    Job(config, None, *sets, settings, tmp_path / "work").write(folder)
    code = (
        "import sys; from pathlib import Path; from al_loop.detector.training import job, launcher\n"
        "one = job.read_job(Path(sys.argv[1]))\n"
        "launcher.train_in_processes(2, 1, one.config, one.start, one.training, one.validation, one.settings, one.work)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, str(folder)])
    progress = tmp_path / "work" / "processes" / "progress.jsonl"
    end = time.monotonic() + 240
    while not (progress.is_file() and progress.stat().st_size) and time.monotonic() < end:
        assert parent.poll() is None
        time.sleep(0.2)
    ranks = f"al_loop.detector.training.worker {tmp_path}"
    assert len(pids(ranks)) == 2
    # Nothing listens where other machines could reach it.
    listening = {line.split()[1] for line in _listening(pids(str(tmp_path / "work" / "processes")))}
    assert listening
    loopback = ("0100007F:", "00000000000000000000000001000000:")  # 127.0.0.1 and ::1
    assert all(address.startswith(loopback) for address in listening), listening
    parent.kill()
    parent.wait()
    assert gone(str(tmp_path), 10.0)


def _listening(of: list[int]) -> list[str]:
    """Lines of /proc/net/tcp and tcp6 of sockets on which the processes listen."""
    inodes = set()
    for pid in of:
        for link in Path(f"/proc/{pid}/fd").iterdir():
            target = os.readlink(link) if link.is_symlink() else ""
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    lines = [
        line for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]
    ]
    return [line for line in lines if line.split()[3] == "0A" and line.split()[9] in inodes]


@pytest.mark.slow
def test_errors_of_a_process_are_those_of_one(config: Any, sets: Any, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"the loss became .* in step \d+.*pretrain.lr"):
        two(config, None, *sets, replace(QUICK, lr=1e30), tmp_path / "nan")
    # An image that only one of the two reads.
    bad = ImageFile("bad", tmp_path / "bad.jpg", 96, 64)
    bad.path.write_bytes(b"no picture")
    training = [*sets[0][:7], LabelledImage(bad, sets[0][7].boxes)]
    with pytest.raises(DataError, match=r"bad\.jpg is not an image that can be decoded"):
        two(config, None, training, sets[1], QUICK, tmp_path / "bad")
    assert gone(str(tmp_path))


def test_what_is_no_error_of_ours_is_named_with_the_log(config: Any, sets: Any, tmp_path: Path) -> None:
    broken = config.copy()
    broken.optim_wrapper = {"type": "OptimWrapper", "optimizer": {"type": "SGD", "lr": 1, "no_such": 1}}
    with pytest.raises(
        TrainingError, match=r"process \d of 2 .* failed: \w+Error: .*Run the same command.*processes\.log"
    ):
        two(broken, None, *sets, QUICK, tmp_path / "work")
    log = (tmp_path / "work" / launcher.LOG).read_text()
    assert "Traceback" in log


def test_a_job_comes_back_as_it_went(trained: Any, config: Any, sets: Any, tmp_path: Path) -> None:
    went = Job(config, trained[0].weights, *sets, QUICK, tmp_path / "work")
    went.write(tmp_path)
    back = read_job(tmp_path)
    assert back.settings == went.settings
    assert back.work == went.work
    assert back.config.model == went.config.model
    assert back.start is not None
    assert all(torch.equal(back.start[name], tensor) for name, tensor in trained[0].weights.items())
    for one, other in zip(
        [*went.training, *went.validation], [*back.training, *back.validation], strict=True
    ):
        assert one.image == other.image
        assert np.array_equal(one.boxes.xyxy, other.boxes.xyxy)
        assert np.array_equal(one.boxes.labels, other.boxes.labels)


def test_shares_are_the_batch() -> None:
    batch = [5, 3, 8, 1]
    assert share(batch, 0, 1) == batch
    assert [share(batch, rank, 2) for rank in range(2)] == [[5, 8], [3, 1]]
    # Three images for two: the first is seen twice, so that both have as many.
    assert [share(batch[:3], rank, 2) for rank in range(2)] == [[5, 8], [3, 5]]
    assert [share(batch[:1], rank, 3) for rank in range(3)] == [[5], [5], [5]]


def test_augmentations_do_not_depend_on_the_number_of_processes() -> None:
    from mmdet.structures.bbox import HorizontalBoxes

    from al_loop.detector.transforms import Augment

    picture = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)

    def changed(count: int, **share: int) -> list[Any]:
        np.random.seed(3)
        augment = Augment(**share)
        return [
            augment.transform(
                {
                    "img": picture,
                    "gt_bboxes": HorizontalBoxes(torch.tensor([[10.0, 10, 50, 40]])),
                    "gt_bboxes_labels": np.zeros(1, dtype=np.int64),
                    "gt_ignore_flags": np.zeros(1, dtype=bool),
                }
            )["img"]
            for _ in range(count)
        ]

    alone = changed(6)
    for rank in range(2):
        for one, other in zip(alone[rank::2], changed(3, rank=rank, processes=2), strict=True):
            assert np.array_equal(one, other)
    assert not np.array_equal(alone[0], alone[1])


def test_what_cannot_be_shared_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    launcher.check(2, "auto", 4, cores=1)
    launcher.check(2, "cpu", 4, cores=2)
    for gpus, device, batch, says in (
        (3, "cpu", 4, r"a batch of 4 images .* expected a batch_size that is a multiple of 3.*--gpus 2"),
        (4, "cuda", 4, r"expected at most 2 GPUs .*, got 4: this machine has 2 .*--gpus 2"),
        (4, "cpu", 4, r"expected at most 2 .* got 4: this machine has 2 cores.*--gpus 2"),
        (2, "cuda:1", 4, r'device = "cuda:1" is one GPU, and 2 were asked for.*--gpus 1'),
    ):
        with pytest.raises(ConfigError, match=says):
            launcher.check(gpus, device, batch, cores=2)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(
        ConfigError, match=r"expected at most 1 GPUs .* got 2: .* has 0 .*--gpus 1, or set device = \"cpu\""
    ):
        launcher.check(2, "auto", 4, cores=2)
