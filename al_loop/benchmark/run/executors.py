"""Chains side by side: in processes of this machine, or on a Ray cluster whose nodes see the same folders."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from al_loop.benchmark.run.cycle_run import Room
from al_loop.benchmark.run.progress import Overall
from al_loop.benchmark.run.trials import Chain, Crew, Ended, run_chain
from al_loop.benchmark.spec.spec import FILE
from al_loop.core.console import Silent
from al_loop.core.errors import AlLoopError, ClusterError, ConfigError
from al_loop.detector.cluster.seats import joined

Opening = Callable[[], Room]


@contextmanager
def crew_of(opening: Opening, out: Path, jobs: int | None, ray: str | None) -> Iterator[Crew | None]:
    """Those who run chains side by side; None: nobody else, they are run here, one after another.

    opening: gives the room to another process, so it must be picklable.  jobs: chains at a time; None: one here, on a
    cluster as many as it has GPUs, else nodes.  ray: address of a cluster.  Raises ClusterError where it cannot be used.
    """
    if ray is None:
        yield None if jobs in (None, 1) else Crew(jobs or 1, lambda chains: _here(opening, chains, jobs or 1))
        return
    with joined(ray) as cluster:
        share = _share(cluster, jobs)
        yield Crew(share.abreast, lambda chains: _on_nodes(cluster, opening, out, chains, share))


def _here(opening: Opening, chains: Sequence[Chain], jobs: int) -> Iterator[Ended]:
    """In processes of their own, each with its share of the cores."""
    if not chains:
        return
    threads = str(max(1, (os.cpu_count() or 1) // jobs))
    kept = {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    os.environ.update(dict.fromkeys(kept, threads))
    try:
        # Spawned: a fork of a process that has used torch's threads hangs.
        with ProcessPoolExecutor(min(jobs, len(chains)), get_context("spawn"), _enter, (opening,)) as crew:
            given = [crew.submit(_work, number, chain) for number, chain in enumerate(chains)]
            try:
                for done in as_completed(given):
                    yield done.result()
            except BaseException:
                crew.shutdown(wait=False, cancel_futures=True)  # what is left is not begun
                raise
    finally:
        for name, value in kept.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


_room: Room | None = None


def _enter(opening: Opening) -> None:
    global _room  # noqa: PLW0603 (one per process, made when it starts)
    _room = opening()


def _work(number: int, chain: Chain) -> Ended:
    assert _room is not None  # _enter came first
    return _ended(_room, number, chain)


def _ended(room: Room, number: int, chain: Chain) -> Ended:
    """Run a chain, and time its parts where they are run."""
    told = Silent()
    whole = Overall(told, len(chain))
    return Ended(number, run_chain(room, chain, told, whole.step), told.lines, whole.worked)


@dataclass(frozen=True)
class _Share:
    """What each chain gets of a cluster, and how many find room at a time."""

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
    ray: Any, opening: Opening, out: Path, chains: Sequence[Chain], share: _Share
) -> Iterator[Ended]:
    """A task for each chain, with its share of the cluster's cores and, where it has some, a GPU."""
    task = ray.remote(_work_there).options(num_cpus=share.cores, num_gpus=share.gpus, max_retries=0)
    left = [task.remote(opening, out, number, chain) for number, chain in enumerate(chains)]
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


def _work_there(opening: Opening, out: Path, number: int, chain: Chain) -> Ended:
    """On a node, which reads the sets anew for every chain: that is little beside a training."""
    if not (out / FILE).is_file():
        raise ConfigError(
            f"node {platform.node()} of the Ray cluster does not see {out}: expected a folder that all nodes share, for "
            "--out as for the sets and the workspace. Name one, or leave --ray out"
        )
    return _ended(opening(), number, chain)
