"""Run trials in parallel: in processes of this machine, or on a Ray cluster whose nodes share the folders."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

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
    """Yield an executor of trials; None if they run one after another in this process.

    make_context: makes the context in another process; picklable.
    out: folder of the benchmark.
    jobs: trials at a time; None: one on this machine, on a cluster one for each GPU, else for each node.
    ray: address of a cluster.
    Raises ClusterError if the cluster cannot be used.
    """
    if ray is None:
        count = jobs or 1
        local = Executor(count, lambda trials: _in_processes(make_context, trials, count))
        yield None if count == 1 else local
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
    spawn, workers = get_context("spawn"), min(jobs, len(trials))
    with (
        _threads_per_process(max(1, (os.cpu_count() or 1) // jobs)),
        ProcessPoolExecutor(workers, spawn, _set_context, (make_context,)) as pool,
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
    """Set the number of torch's threads for processes that are started in the block."""
    before = dict(os.environ)
    os.environ.update(OMP_NUM_THREADS=str(threads), MKL_NUM_THREADS=str(threads))
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


_context: BenchmarkContext | None = None


def _set_context(make_context: ContextFactory) -> None:
    global _context  # noqa: PLW0603 (one per process, made when it starts)
    _context = make_context()


def _run_in_process(number: int, trial: Trial[Any]) -> TrialResult:
    assert _context is not None  # _set_context came first
    return _run(_context, number, trial)


def _run(context: BenchmarkContext, number: int, trial: Trial[Any]) -> TrialResult:
    """Run a trial and measure its time in this process."""
    reporter = Silent()
    progress = OverallProgress(reporter, len(trial.runs))
    rows = run_trial(context, trial, reporter, progress.step)
    return TrialResult(number, rows, reporter.lines, progress.work_s)


class _Share(NamedTuple):
    """Resources of each trial on a cluster. parallel: trials at a time."""

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
    """Run each trial as a Ray task, without retries: a node that seems lost may still write to `out`."""
    task = ray.remote(_run_on_node).options(num_cpus=share.cores, num_gpus=share.gpus, max_retries=0)
    pending = [task.remote(make_context, out, number, trial) for number, trial in enumerate(trials)]
    while pending:
        (reference,), pending = ray.wait(pending, num_returns=1)
        try:
            yield result_of(ray, reference)
        except TaskFailedError as error:
            raise ClusterError(
                f"a process of the Ray cluster was lost ({error}); results so far are kept. "
                "Continue: the same command with --resume"
            ) from None


def _run_on_node(make_context: ContextFactory, out: Path, number: int, trial: Trial[Any]) -> TrialResult:
    """Run a trial on a node, which reads the sets for every trial."""
    if not (out / FILE).is_file():
        raise ConfigError(
            f"node {platform.node()} of the Ray cluster does not see {out}: expected a folder that all nodes "
            "share, for --out as for the sets and the workspace. Name one, or leave --ray out"
        )
    return _run(make_context(), number, trial)
