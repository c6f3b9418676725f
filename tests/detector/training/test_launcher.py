"""A training shared by two processes: the losses of one, one that writes, clear errors, no process left."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from support.training import training_job

from al_loop.core.errors import AlLoopError, ConfigError, DataError, TrainingError
from al_loop.core.files import write_json
from al_loop.detector.training import launcher
from al_loop.detector.training.job import write_job
from al_loop.detector.training.train import train
from al_loop.detector.training.worker import PROGRESS, failure_file
from al_loop.structures.images import ImageFile, LabelledImage


def in_two_processes(job: Any, on_progress: Any = None) -> Any:
    return launcher.train_in_processes(job, 2, 1, on_progress)


@pytest.fixture(scope="module")
def even(config: Any) -> Any:
    """The small model without parts that depend on how a batch is divided.

    Its batch normalisation keeps its statistics, RPN and box head learn from all anchors and proposals of
    each image instead of a random sample, and plain SGD does not enlarge rounding.
    """
    even = deepcopy(config)  # `copy` is shallow
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
    """Stores the reported steps and their losses."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.losses: list[float] = []

    def __call__(self, done: int, total: int, text: str) -> None:
        self.steps.append(done)
        self.losses.append(float(text.split()[1].rstrip(",")))


def file_names(folder: Path) -> set[str]:
    """Names of the files in a folder, without the time in them."""
    return {re.sub(r"^\d{8}_\d{6}", "TIME", path.name) for path in folder.iterdir() if path.is_file()}


def processes(text: str) -> list[psutil.Process]:
    """Processes whose command line holds the text."""
    rows = psutil.process_iter(["cmdline"])
    return [process for process in rows if text in " ".join(process.info["cmdline"] or ())]


def workers(folder: Path) -> list[psutil.Process]:
    rows = processes(f"al_loop.detector.training.worker {folder}")
    return [process for process in rows if "torch.distributed.run" not in process.cmdline()]


def gone(folder: Path, seconds: float = 20.0) -> bool:
    end = time.monotonic() + seconds
    while processes(str(folder)) and time.monotonic() < end:
        time.sleep(0.2)
    return not processes(str(folder))


@pytest.mark.slow
@pytest.mark.train
def test_two_processes_train_as_one_does(even: Any, sets: Any, tmp_path: Path) -> None:
    """Validated after every six steps, and after the last."""
    job = training_job(even, sets, tmp_path / "one", lr=0.01, steps=14, val_every=6)
    alone, shared = Curve(), Curve()
    one = train(job, alone)
    two = in_two_processes(replace(job, folder=tmp_path / "two"), shared)
    assert shared.steps == alone.steps == list(range(1, 15))
    assert alone.losses[0] > 1.1 * alone.losses[-1]
    # The reported losses have two digits.
    np.testing.assert_allclose(shared.losses, alone.losses, atol=0.0101)
    logs = [(tmp_path / name / "train.log").read_text() for name in ("one", "two")]
    logged = [[float(loss) for loss in re.findall(r"\bloss: ([0-9.]+)", log)] for log in logs]
    assert len(logged[0]) == 2  # after ten steps and after the last
    np.testing.assert_allclose(*logged, rtol=2e-4)  # four digits
    for name, tensor in one.weights.items():
        torch.testing.assert_close(two.weights[name], tensor, rtol=1e-4, atol=1e-6)
    assert two.steps == one.steps
    np.testing.assert_allclose(two.validations, one.validations, atol=1e-3)
    np.testing.assert_allclose(two.quality, one.quality, rtol=1e-4)
    # Rank 0 alone writes: the files of one process, and each line once.
    assert file_names(tmp_path / "two") == file_names(tmp_path / "one") | {launcher.LOG}
    assert [log.count("Saving checkpoint at 6 iterations") for log in logs] == [1, 1]
    assert all(len(list((tmp_path / name).glob("*/*.log"))) == 1 for name in ("one", "two"))
    assert not (tmp_path / "two" / "processes").exists()
    assert gone(tmp_path)


@pytest.mark.train
@pytest.mark.slow
def test_the_small_models_own_normalisation_learns_as_well(config: Any, sets: Any, tmp_path: Path) -> None:
    """Batch normalisation over half of the batch and other random RoIs: the same curve."""
    alone, shared = Curve(), Curve()
    job = training_job(config, sets, tmp_path / "one", steps=12, val_every=12)
    train(job, alone)
    trained = in_two_processes(replace(job, folder=tmp_path / "two"), shared)
    np.testing.assert_allclose(shared.losses, alone.losses, rtol=0.25)
    assert abs(np.mean(shared.losses) / np.mean(alone.losses) - 1) < 0.1
    assert all(torch.isfinite(tensor).all() for tensor in trained.weights.values())


@pytest.mark.train
@pytest.mark.slow
def test_a_killed_and_an_interrupted_training_go_on(config: Any, sets: Any, tmp_path: Path) -> None:
    """A checkpoint after every third step: killed in the fourth, interrupted in the seventh, ended by one."""
    job = training_job(config, sets, tmp_path / "work", steps=9, val_every=3)

    def kill(done: int, total: int, text: str) -> None:
        if done == 4 and (running := workers(tmp_path)):
            running[-1].kill()

    with pytest.raises(TrainingError, match=r"process \d of 2 .* ended by signal 9 .*Run the same command"):
        in_two_processes(job, kill)
    assert gone(tmp_path)
    steps: list[int] = []

    def interrupt(done: int, total: int, text: str) -> None:
        steps.append(done)
        if done == 7:
            assert len(workers(tmp_path)) == 2
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        in_two_processes(job, interrupt)
    assert gone(tmp_path, 5.0)
    assert steps == [4, 5, 6, 7]
    assert train(job, lambda done, *_: steps.append(done)).steps == 9
    assert steps[4:] == [7, 8, 9]


@pytest.mark.train
@pytest.mark.slow
def test_a_killed_parent_leaves_no_process(config: Any, sets: Any, tmp_path: Path) -> None:
    (tmp_path / "job").mkdir()
    write_job(training_job(config, sets, tmp_path / "work", steps=600, val_every=3), tmp_path / "job")
    code = (
        "import sys; from pathlib import Path; from al_loop.detector.training import job, launcher\n"
        "launcher.train_in_processes(job.read_job(Path(sys.argv[1])), 2, 1)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "job")])
    progress = tmp_path / "work" / "processes" / PROGRESS
    end = time.monotonic() + 240
    while not (progress.is_file() and progress.stat().st_size) and time.monotonic() < end:
        assert parent.poll() is None
        time.sleep(0.2)
    assert len(workers(tmp_path)) == 2
    # Nothing listens where other machines could reach it.
    family = psutil.Process(parent.pid).children(recursive=True)
    sockets = [socket for process in family for socket in process.net_connections("inet")]
    listening = {socket.laddr.ip for socket in sockets if socket.status == psutil.CONN_LISTEN}
    assert listening
    assert listening <= {"127.0.0.1", "::1"}
    parent.kill()
    parent.wait()
    assert gone(tmp_path)


@pytest.mark.train
@pytest.mark.slow
def test_an_error_of_one_process_ends_both(config: Any, sets: Any, tmp_path: Path) -> None:
    """Only one of the two reads the broken image."""
    bad = ImageFile("bad", tmp_path / "bad.jpg", 96, 64)
    bad.path.write_bytes(b"no picture")
    training = [*sets[0][:7], LabelledImage(bad, sets[0][7].boxes)]
    with pytest.raises(DataError, match=r"bad\.jpg is not an image"):
        in_two_processes(training_job(config, (training, sets[1]), tmp_path / "work"))
    assert "Traceback" in (tmp_path / "work" / launcher.LOG).read_text()
    assert gone(tmp_path)


KILLED = "  rank      : 1 (local_rank: 1)\n  exitcode  : -9 (pid: 7) (SIGKILL)\n"
ENDED_BY_TORCHRUN = "  rank      : 0 (local_rank: 0)\n  exitcode  : -15 (pid: 6) (SIGTERM)\n"


@pytest.mark.parametrize(
    ("failures", "status", "output", "kind", "message"),
    [
        ([("RuntimeError", "Connection closed"), ("DataError", "bad.jpg")], 1, "", DataError, r"^bad\.jpg$"),
        ([("RuntimeError", "Connection closed")], 1, KILLED, TrainingError, r"process 2 of 2 .* signal 9 \("),
        ([("RuntimeError", "no kernel\nmore")], 1, ENDED_BY_TORCHRUN, TrainingError,
         r"process 1 of 2 .* failed: RuntimeError: no kernel\. Run the same command.*processes\.log"),
        ([], -signal.SIGKILL, "", TrainingError, r"^torchrun.* signal 9\. Run the same command"),
        ([], 1, ENDED_BY_TORCHRUN, TrainingError, "ended with status 1"),
    ],
    ids=["our own error", "killed", "another error", "torchrun killed", "status alone"],
)  # fmt: skip
def test_the_cause_of_a_failure_is_reported(
    failures: list[tuple[str, str]],
    status: int,
    output: str,
    kind: type[AlLoopError],
    message: str,
    tmp_path: Path,
) -> None:
    """A process that fails because another was killed, or was ended by torchrun, is not the cause."""
    for rank, (error, text) in enumerate(failures):
        write_json(failure_file(tmp_path, rank), {"error": error, "message": text})
    error = launcher._error(tmp_path, status, 2, output)
    assert type(error) is kind
    assert re.search(message, str(error))


def test_more_gpus_than_can_share_a_training_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    launcher.check_gpus(2, "auto", 4, cores=1)
    launcher.check_gpus(2, "cpu", 4, cores=2)
    for gpus, device, batch, message in (
        (3, "cpu", 4, r"a batch of 4 images .* expected a batch_size that is a multiple of 3.*--gpus 2"),
        (4, "cuda", 4, r"expected at most 2 GPUs .*, got 4: this machine has 2 .*--gpus 2"),
        (4, "cpu", 4, r"expected at most 2 .* got 4: this machine has 2 cores.*--gpus 2"),
        (2, "cuda:1", 4, r'device = "cuda:1" is one GPU, but 2 were requested.*--gpus 1'),
    ):
        with pytest.raises(ConfigError, match=message):
            launcher.check_gpus(gpus, device, batch, cores=2)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(
        ConfigError, match=r"expected at most 1 GPUs .* got 2: .* has 0 .*--gpus 1, or set device = \"cpu\""
    ):
        launcher.check_gpus(2, "auto", 4, cores=2)
