"""Run trials in parallel: in processes of this machine, or on a Ray cluster whose nodes share the folders."""

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
from al_loop.core.errors import ClusterError, ConfigError
from al_loop.detector.cluster.connection import ray_cluster
from render.execution.actor_pool import result_of
from render.execution.scheduler import TaskFailedError


@contextmanager
def make_executor(
    make_context: ContextFactory, out: Path, jobs: int | None, ray: str | None
) -> Iterator[Executor | None]:
    """Yield what runs trials in parallel; None if they run one after another in this process.

    make_context: makes the context in another process, so it must be picklable.
    out: folder of the benchmark.
    jobs: trials at a time; None: one on this machine, on a cluster one for each GPU, else for each node.
    ray: address of a cluster.
    Raises ClusterError if the cluster cannot be used.
    """
    if ray is None:
        count = jobs or 1
        yield (
            None if count == 1 else Executor(count, lambda trials: _in_processes(make_context, trials, count))
        )
        return
    with ray_cluster(ray) as cluster:
        share = _share(cluster, jobs)
        yield Executor(share.parallel, lambda trials: _on_cluster(cluster, make_context, out, trials, share))


def _in_processes(
    make_context: ContextFactory, trials: Sequence[Trial[Any]], jobs: int
) -> Iterator[TrialResult]:
    """Run trials in processes, each with its share of the cores."""
    if not trials:
        return
    # Spawned: a fork of a process that has used torch's threads hangs.
    with (
        _threads_per_process(max(1, (os.cpu_count() or 1) // jobs)),
        ProcessPoolExecutor(
            min(jobs, len(trials)), get_context("spawn"), _set_context, (make_context,)
        ) as pool,
    ):
        futures = [pool.submit(_run_in_process, number, trial) for number, trial in enumerate(trials)]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


@contextmanager
def _threads_per_process(threads: int) -> Iterator[None]:
    """Set for processes that are started meanwhile with how many threads torch computes."""
    before = {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    os.environ.update(dict.fromkeys(before, str(threads)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


_context: BenchmarkContext | None = None


def _set_context(make_context: ContextFactory) -> None:
    global _context  # noqa: PLW0603 (one per process, made when it starts)
    _context = make_context()


def _run_in_process(number: int, trial: Trial[Any]) -> TrialResult:
    assert _context is not None  # _set_context came first
    return _run(_context, number, trial)


def _run(context: BenchmarkContext, number: int, trial: Trial[Any]) -> TrialResult:
    """Run a trial; measure the time of its parts in the process that runs it."""
    reporter = Silent()
    progress = OverallProgress(reporter, len(trial.runs))
    rows = run_trial(context, trial, reporter, progress.step)
    return TrialResult(number, rows, reporter.lines, progress.work_time)


@dataclass(frozen=True)
class _Share:
    """Resources of each trial on a cluster.

    parallel: how many trials run at a time.
    """

    cores: int
    gpus: int
    parallel: int


def _share(ray: Any, jobs: int | None) -> _Share:
    total, nodes = ray.cluster_resources(), [node for node in ray.nodes() if node["Alive"]]
    cores, gpus = int(total.get("CPU", 1)), int(total.get("GPU", 0))
    largest = max((int(node["Resources"].get("CPU", 0)) for node in nodes), default=1)
    wanted = jobs or gpus or len(nodes)
    share = max(1, min(cores // wanted, largest))
    return _Share(share, min(gpus, 1), max(1, min(wanted, gpus or wanted, cores // share)))


def _on_cluster(
    ray: Any, make_context: ContextFactory, out: Path, trials: Sequence[Trial[Any]], share: _Share
) -> Iterator[TrialResult]:
    """Run each trial as a Ray task. There is no retry: a node that seems lost may still write to `out`."""
    task = ray.remote(_run_on_node).options(num_cpus=share.cores, num_gpus=share.gpus, max_retries=0)
    pending = [task.remote(make_context, out, number, trial) for number, trial in enumerate(trials)]
    while pending:
        (reference,), pending = ray.wait(pending, num_returns=1)
        try:
            yield result_of(ray, reference)
        except TaskFailedError as error:
            raise ClusterError(
                f"a process of the Ray cluster was lost ({error}); what is done is kept. Go on: the same "
                "command with --resume"
            ) from None


def _run_on_node(make_context: ContextFactory, out: Path, number: int, trial: Trial[Any]) -> TrialResult:
    """Run a trial on a node. It reads the sets for every trial: that is short beside a training."""
    if not (out / FILE).is_file():
        raise ConfigError(
            f"node {platform.node()} of the Ray cluster does not see {out}: expected a folder that all nodes "
            "share, for --out as for the sets and the workspace. Name one, or leave --ray out"
        )
    return _run(make_context(), number, trial)
