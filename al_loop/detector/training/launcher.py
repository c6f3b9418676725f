"""Start a distributed training with torchrun, and wait for its end."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import IO

import psutil
import torch

from al_loop.core import errors
from al_loop.core.errors import AlLoopError, ConfigError, TrainingError, first_line
from al_loop.core.files import read_json
from al_loop.detector.checkpoint import read_note, read_weights
from al_loop.detector.training.hooks import Progress
from al_loop.detector.training.job import TrainingJob, write_job
from al_loop.detector.training.train import BEST, Trained
from al_loop.detector.training.worker import PROGRESS, RESULT, failure_file

#: Output of torchrun and of the processes, beside train.log.
LOG = "processes.log"
#: The TCP rendezvous of torchrun would listen on all addresses of the machine; a file listens nowhere.
_RENDEZVOUS = ("--rdzv-backend=c10d", "--rdzv-conf=store_type=file", "--local-addr=127.0.0.1")
_NO_TCP_STORE = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
#: Gloo and NCCL connect the processes only over the loopback interface.
_LOOPBACK = {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"}
_POLL_S = 0.1
_EXIT_S = 10.0  # to wait until killed processes have ended


def check_gpus(gpus: int, device: str, batch_size: int, cores: int) -> None:
    """Raise ConfigError if a training cannot be divided among `gpus` GPUs, or processes on the CPU."""
    if batch_size % gpus:
        raise ConfigError(
            f"a batch of {batch_size} images cannot be shared evenly by {gpus} GPUs: expected a batch_size "
            f"that is a multiple of {gpus}. Run with --gpus {_largest_divisor(batch_size, gpus)}, or change "
            "batch_size in al-loop.toml (a cycle under way keeps its own)."
        )
    if device not in ("auto", "cpu", "cuda"):
        raise ConfigError(
            f'device = "{device}" is one GPU, but {gpus} were requested: expected "auto" or "cuda". '
            "Correct device in al-loop.toml, or run with --gpus 1."
        )
    available = cores if device == "cpu" else torch.cuda.device_count()
    unit = "cores, and each process needs one" if device == "cpu" else "that torch can use"
    other = "" if available else ', or set device = "cpu" in al-loop.toml to share it among processes'
    if gpus > available:
        raise ConfigError(
            f"expected at most {max(1, available)} GPUs (--gpus, or gpus in al-loop.toml), got {gpus}: this "
            f"machine has {available} {unit}. "
            f"Run with --gpus {_largest_divisor(batch_size, available)}{other}."
        )


def train_in_processes(
    job: TrainingJob, processes: int, threads: int, on_progress: Progress | None = None
) -> Trained:
    """Train as `al_loop.detector.training.train.train` does, in several processes that end with this one.

    threads: number of threads of each process.
    Raises the error that one process would raise, and TrainingError if a process was killed.
    """
    job = replace(job, folder=job.folder.resolve())
    shared = job.folder / "processes"
    shutil.rmtree(shared, ignore_errors=True)
    shared.mkdir(parents=True)
    write_job(job, shared)
    (shared / PROGRESS).touch()
    environment = _environment(threads, job.run.device)
    log = job.folder / LOG
    logged = log.stat().st_size if log.exists() else 0  # bytes of earlier runs
    with (shared / PROGRESS).open() as lines, _torchrun(shared, processes, environment, log) as torchrun:
        while torchrun.poll() is None:
            _forward_progress(lines, on_progress)
            time.sleep(_POLL_S)
        _forward_progress(lines, on_progress)
        if torchrun.returncode or not (shared / RESULT).is_file():
            output = log.read_bytes()[logged:].decode(errors="replace")
            raise _error(shared, torchrun.returncode, processes, output)
    result = read_json(shared / RESULT)
    shutil.rmtree(shared)
    best = job.folder / BEST
    return Trained(weights=read_weights(best), best_ap=read_note(best, "ap"), **result)


def _environment(threads: int, device: str) -> dict[str, str]:
    threads_each = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(max(1, threads)))
    loopback = _LOOPBACK if sys.platform == "linux" else {}
    gpus = {"CUDA_VISIBLE_DEVICES": ""} if device == "cpu" else {}
    # PET_* variables, which some schedulers set, are options of torchrun.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PET_")}
    return {**inherited, **threads_each, **loopback, **gpus, **_NO_TCP_STORE}


@contextmanager
def _torchrun(shared: Path, processes: int, environment: dict[str, str], log: Path) -> Iterator[psutil.Popen]:
    """Run torchrun while the block runs; kill it and its processes afterwards."""
    command = [
        *(sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={processes}", *_RENDEZVOUS),
        *(f"--rdzv-endpoint={shared / 'rendezvous'}", f"--log-dir={shared / 'torchrun'}"),
        *("-m", "al_loop.detector.training.worker", str(shared), str(os.getpid())),
    ]
    with log.open("ab") as output:
        torchrun = psutil.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl-C reaches only al-loop, which then ends the others
        )
    try:
        yield torchrun
    finally:
        with suppress(psutil.NoSuchProcess):
            process_tree = [torchrun, *torchrun.children(recursive=True)]
            for process in process_tree:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(process_tree, timeout=_EXIT_S)
        torchrun.wait()


def _forward_progress(lines: IO[str], on_progress: Progress | None) -> None:
    """Report the steps that rank 0 has written since the last call."""
    start = lines.tell()
    while (line := lines.readline()).endswith("\n"):
        start = lines.tell()
        if on_progress:
            on_progress(*json.loads(line))
    lines.seek(start)  # before a line that is still being written


def _error(shared: Path, status: int, processes: int, output: str) -> AlLoopError:
    """Return the error of the process that failed first, as this process would raise it.

    output: text that torchrun and the processes have printed.
    """
    files = ((rank, failure_file(shared, rank)) for rank in range(processes))
    failures = {rank: read_json(path) for rank, path in files if path.is_file()}
    for failure in failures.values():
        kind = getattr(errors, failure["error"], None)
        if isinstance(kind, type) and issubclass(kind, AlLoopError):
            return kind(failure["message"])
    advice = f"Run the same command again: it continues at the last checkpoint. Log: {shared.parent / LOG}"
    if status < 0:
        return TrainingError(f"torchrun, which runs the training, was ended by signal {-status}. {advice}")
    # torchrun reports the exit status of each failed process. It ends the others itself, with SIGTERM.
    signals = re.findall(r"^ *rank +: (\d+) .*\n *exitcode +: -(\d+) ", output, re.MULTILINE)
    for rank, number in signals:
        if int(number) != signal.SIGTERM:
            return TrainingError(
                f"process {int(rank) + 1} of {processes} that share the training was ended by signal "
                f"{number} (killed from outside, or the machine ran out of memory). {advice}"
            )
    for rank, failure in failures.items():
        return TrainingError(
            f"process {rank + 1} of {processes} that share the training failed: {failure['error']}: "
            f"{first_line(failure['message'])}. {advice}"
        )
    return TrainingError(f"the processes that share the training ended with status {status}. {advice}")


def _largest_divisor(number: int, limit: int) -> int:
    """Return the largest divisor of `number` that is at most `limit`, but at least 1."""
    return next((n for n in range(limit, 1, -1) if number % n == 0), 1)
