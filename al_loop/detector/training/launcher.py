"""A training shared by several processes, from the side of the one that wants it.

It takes no part itself: it starts torchrun (`al_loop.detector.training.agent`), passes progress on and reads the result.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NoReturn

import torch
from mmengine.config import Config

from al_loop.core import errors
from al_loop.core.errors import AlLoopError, ConfigError, TrainingError
from al_loop.core.files import read_json
from al_loop.detector.checkpoint import Weights, read_note, read_weights
from al_loop.detector.training.agent import ENDED
from al_loop.detector.training.job import Job
from al_loop.detector.training.settings import TrainSettings
from al_loop.detector.training.train import BEST, Progress, Trained
from al_loop.detector.training.worker import PROGRESS, RESULT, failure
from al_loop.structures.images import LabelledImage

#: What the processes print, beside train.log.
LOG = "processes.log"
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
_INTERFACES = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")
_LOOK_S = 0.1  # between looks at the progress
_GRACE_S = 10.0  # for torchrun to end its processes; longer than its own patience with them


def check(gpus: int, device: str, batch_size: int, cores: int) -> None:
    """Refuse with ConfigError what cannot be shared among so many GPUs, or processes on the CPU."""
    if batch_size % gpus:
        raise ConfigError(
            f"a batch of {batch_size} images cannot be shared evenly by {gpus} GPUs: expected a batch_size that is a "
            f"multiple of {gpus}. Run with --gpus {_divisor(batch_size, gpus)}, or change batch_size in al-loop.toml "
            "(a cycle under way keeps its own)."
        )
    if device not in ("auto", "cpu", "cuda"):
        raise ConfigError(
            f'device = "{device}" is one GPU, and {gpus} were asked for: expected "auto" or "cuda". '
            "Correct device in al-loop.toml, or run with --gpus 1."
        )
    there = cores if device == "cpu" else torch.cuda.device_count()
    if gpus <= there:
        return
    have = f"{there} cores, and each process needs one" if device == "cpu" else f"{there} that torch can use"
    other = "" if there else ', or set device = "cpu" in al-loop.toml to share it among processes'
    raise ConfigError(
        f"expected at most {max(1, there)} GPUs (--gpus, or gpus in al-loop.toml), got {gpus}: this machine has {have}. "
        f"Run with --gpus {_divisor(batch_size, there)}{other}."
    )


def train_in_processes(
    processes: int,
    threads: int,
    config: Config,
    start: Weights | None,
    training: Sequence[LabelledImage],
    validation: Sequence[LabelledImage],
    settings: TrainSettings,
    folder: Path,
    on_progress: Progress | None = None,
) -> Trained:
    """Train as `al_loop.detector.training.train.train` does, in as many processes, each with so many threads.

    Raises what one process would, and TrainingError when a process was killed. None of them outlives this one.
    """
    shared = folder / "processes"
    shutil.rmtree(shared, ignore_errors=True)
    shared.mkdir(parents=True)
    Job(config, start, training, validation, settings, folder.resolve()).write(shared)
    (shared / PROGRESS).touch()
    with _agent(shared, processes, threads, settings.device) as agent, (shared / PROGRESS).open() as said:
        while agent.poll() is None:
            _pass_on(said, on_progress)
            time.sleep(_LOOK_S)
        _pass_on(said, on_progress)
        if agent.returncode or not (shared / RESULT).is_file():
            _explain(shared, agent.returncode, processes)
    result = read_json(shared / RESULT)
    shutil.rmtree(shared)
    best = folder / BEST
    return Trained(weights=read_weights(best), best_ap=read_note(best, "ap"), **result)


@contextmanager
def _agent(shared: Path, processes: int, threads: int, device: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run torchrun while the block runs; afterwards it and its processes are gone."""
    environment = {**os.environ, **dict.fromkeys(_THREADS, str(max(1, threads)))}
    if sys.platform == "linux":  # only this machine takes part: nothing else needs to reach the processes
        environment |= dict.fromkeys(_INTERFACES, "lo")
    if device == "cpu":
        environment["CUDA_VISIBLE_DEVICES"] = ""
    arguments = (
        "-m",
        "al_loop.detector.training.agent",
        str(shared.resolve()),
        str(processes),
        str(os.getpid()),
    )
    with (shared.parent / LOG).open("ab") as log:
        # A session of its own: Ctrl-C reaches this process only, which then ends the others in order.
        agent = subprocess.Popen(
            [sys.executable, *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield agent
    finally:
        if agent.poll() is None:
            agent.terminate()
            try:
                agent.wait(_GRACE_S)
            except subprocess.TimeoutExpired:
                agent.kill()
        agent.wait()


def _pass_on(said: IO[str], on_progress: Progress | None) -> None:
    """Report the steps that were written since; a line that is not whole yet waits for the next time."""
    while True:
        at = said.tell()
        line = said.readline()
        if not line.endswith("\n"):
            said.seek(at)
            return
        if on_progress:
            on_progress(*json.loads(line))


def _explain(shared: Path, status: int, processes: int) -> NoReturn:
    """Raise the error of the process that failed first, as it would be raised here."""
    said = {rank: read_json(path) for rank in range(processes) if (path := failure(shared, rank)).is_file()}
    for one in said.values():
        kind = getattr(errors, one["error"], None)
        if isinstance(kind, type) and issubclass(kind, AlLoopError):
            raise kind(one["message"])
    again = f"Run the same command again: it goes on after the last whole epoch. Log: {shared.parent / LOG}"
    ended: list[list[int]] = read_json(shared / ENDED) if (shared / ENDED).is_file() else []
    # Those that torchrun ended because of another are no reason.
    killed = [(rank, -code) for rank, code in ended if code < 0 and code != -signal.SIGTERM]
    if not killed and status < 0:
        raise TrainingError(
            f"torchrun, which holds the training's processes, was ended by signal {-status}. {again}"
        )
    for rank, number in killed:
        raise TrainingError(
            f"process {rank + 1} of {processes} that share the training was ended by signal {number} (killed from "
            f"outside, or the machine ran out of memory). {again}"
        )
    for rank, one in said.items():
        raise TrainingError(
            f"process {rank + 1} of {processes} that share the training failed: {one['error']}: "
            f"{_first_line(one['message'])}. {again}"
        )
    raise TrainingError(f"the processes that share the training ended with status {status}. {again}")


def _first_line(text: str) -> str:
    return (text.strip().splitlines() or [""])[0][:200]


def _divisor(number: int, most: int) -> int:
    """Return the largest divisor of `number` that is at most `most`; 1 at least."""
    return next((n for n in range(most, 1, -1) if number % n == 0), 1)
