"""Chains side by side: in processes of this machine, or on a Ray cluster whose nodes see the same folders."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from al_loop.benchmark.run.context import BenchmarkContext, ContextFactory
from al_loop.benchmark.run.progress import OverallProgress
from al_loop.benchmark.run.trial import Executor, Trial, TrialResult
from al_loop.benchmark.run.trials import run_trial
from al_loop.benchmark.spec.spec import FILE
from al_loop.core.console import Silent
from al_loop.core.errors import AlLoopError, ClusterError, ConfigError
from al_loop.detector.cluster.seats import joined


@contextmanager
def make_executor(
    make_context: ContextFactory, out: Path, jobs: int | None, ray: str | None
) -> Iterator[Executor | None]:
    """Those who run trials side by side; None: nobody else, they are run here, one after another.

    make_context: gives the context to another process, so it must be picklable.  jobs: trials at a time; None: one here, on a
    cluster as many as it has GPUs, else nodes.  ray: address of a cluster.  Raises ClusterError where it cannot be used.
    """
    if ray is None:
        yield (
            None
            if jobs in (None, 1)
            else Executor(jobs or 1, lambda trials: _here(make_context, trials, jobs or 1))
        )
        return
    with joined(ray) as cluster:
        share = _share(cluster, jobs)
        yield Executor(share.abreast, lambda trials: _on_nodes(cluster, make_context, out, trials, share))


def _here(make_context: ContextFactory, trials: Sequence[Trial[Any]], jobs: int) -> Iterator[TrialResult]:
    """In processes of their own, each with its share of the cores."""
    if not trials:
        return
    threads = str(max(1, (os.cpu_count() or 1) // jobs))
    kept = {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    os.environ.update(dict.fromkeys(kept, threads))
    try:
        # Spawned: a fork of a process that has used torch's threads hangs.
        with ProcessPoolExecutor(
            min(jobs, len(trials)), get_context("spawn"), _enter, (make_context,)
        ) as executor:
            given = [executor.submit(_work, number, trial) for number, trial in enumerate(trials)]
            try:
                for done in as_completed(given):
                    yield done.result()
            except BaseException:
                executor.shutdown(wait=False, cancel_futures=True)  # what is left is not begun
                raise
    finally:
        for name, value in kept.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


_context: BenchmarkContext | None = None


def _enter(make_context: ContextFactory) -> None:
    global _context  # noqa: PLW0603 (one per process, made when it starts)
    _context = make_context()


def _work(number: int, trial: Trial[Any]) -> TrialResult:
    assert _context is not None  # _enter came first
    return _ended(_context, number, trial)


def _ended(context: BenchmarkContext, number: int, trial: Trial[Any]) -> TrialResult:
    """Run a trial, and time its parts where they are run."""
    told = Silent()
    whole = OverallProgress(told, len(trial.runs))
    return TrialResult(number, run_trial(context, trial, told, whole.step), told.lines, whole.work_time)


@dataclass(frozen=True)
class _Share:
    """What each trial gets of a cluster, and how many run at a time."""

    cores: int
    gpus: int
    abreast: int


def _share(ray: Any, jobs: int | None) -> _Share:
    total = ray.cluster_resources()
    cores, gpus = int(total.get("CPU", 1)), int(total.get("GPU", 0))
    widest = max((int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]), default=1)
    side_by_side = jobs or gpus or sum(bool(node["Alive"]) for node in ray.nodes())
    share = max(1, min(cores // side_by_side, widest))
    return _Share(share, min(gpus, 1), max(1, min(side_by_side, gpus or side_by_side, cores // share)))


def _on_nodes(
    ray: Any, make_context: ContextFactory, out: Path, trials: Sequence[Trial[Any]], share: _Share
) -> Iterator[TrialResult]:
    """A task for each trial, with its share of the cluster's cores and, where it has some, a GPU."""
    task = ray.remote(_work_there).options(num_cpus=share.cores, num_gpus=share.gpus, max_retries=0)
    left = [task.remote(make_context, out, number, trial) for number, trial in enumerate(trials)]
    while left:
        (reference,), left = ray.wait(left, num_returns=1)
        try:
            yield ray.get(reference)
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, AlLoopError):
                raise error.cause from None
            raise
        except ray.exceptions.RayError as error:
            reason = str(error).strip().splitlines()[-1].strip()
            raise ClusterError(
                f"a process of the Ray cluster was lost ({reason}); what is done is kept. Go on: the same command with --resume"
            ) from None


def _work_there(make_context: ContextFactory, out: Path, number: int, trial: Trial[Any]) -> TrialResult:
    """On a node, which reads the sets anew for every trial: that is little beside a training."""
    if not (out / FILE).is_file():
        raise ConfigError(
            f"node {platform.node()} of the Ray cluster does not see {out}: expected a folder that all nodes share, for "
            "--out as for the sets and the workspace. Name one, or leave --ray out"
        )
    return _ended(make_context(), number, trial)
