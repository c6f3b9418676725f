"""Render jobs on this machine or on a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from render.core.errors import WorkerError
from render.core.options import RenderOptions
from render.execution.jobs import ATTEMPTS, GIVE_UP_AFTER, FailureTracker, Job
from render.execution.scheduler import NoWorkerLeftError, Policy, Scheduler, TaskFailedError, WorkerSlot
from render.execution.worker_process import WorkerProcess, available_cores, split_cores, worker_command


def render_jobs(
    jobs: Iterable[Job],
    out: Path,
    options: RenderOptions,
    on_done: Callable[[int], None],
    on_warning: Callable[[str], None] | None = None,
) -> None:
    """Render jobs into the open dataset `out`.

    A scene that fails ATTEMPTS times is recorded as failed, with its seed, and skipped.

    on_done: called in this thread with the index of every image that is rendered or given up.
    on_warning: called with a sentence for every worker that is left out.
    Raises WorkerCrashedError if GIVE_UP_AFTER scenes in a row fail, or all; then none is recorded.
    Raises the error of the last worker if none is left.
    """
    warn = on_warning or (lambda sentence: None)

    def leave_out(name: str, error: Exception) -> None:
        reason = f"{name}: {error}" if isinstance(error, TaskFailedError) else error
        warn(f"{reason}; the others go on")

    policy = Policy(ATTEMPTS, losses=ATTEMPTS * GIVE_UP_AFTER, on_left_out=leave_out)
    tracker = FailureTracker(out)

    def finish(job: Job, result: TaskFailedError | None) -> None:
        tracker.add(job, None if result is None else str(result))
        for image in job.images:
            on_done(image)

    with _scheduler(out, options, policy) as scheduler:
        try:
            scheduler.run(jobs, finish)
        except NoWorkerLeftError as error:
            if isinstance(error.__cause__, WorkerError):
                raise error.__cause__ from None
            raise WorkerError(f"no render worker is left: {error}; run the same command again") from error
    tracker.close()


@contextmanager
def _scheduler(out: Path, options: RenderOptions, policy: Policy) -> Iterator[Scheduler]:
    if options.ray is None:
        yield Scheduler(list(_local_slots(out, options)), policy)
        return
    # Ray is an extra.
    from render.execution.actor_pool import actor_scheduler, cpu_placements
    from render.execution.ray_connection import connected
    from render.execution.ray_workers import RayWorker

    with connected(options.ray) as ray:
        nodes = ray.nodes()
        placements = cpu_placements(nodes, options.threads, options.workers)
        if not placements:
            cores = ", ".join(str(place.cores) for place in cpu_placements(nodes))
            raise WorkerError(
                f"the Ray cluster {options.ray} has no node with {options.threads or 1} cores free for us "
                f"(nodes have {cores or 'none'}); lower --threads, or add nodes"
            )
        yield actor_scheduler(
            ray,
            placements,
            lambda place: RayWorker(ray, place, out, options.python, options.timeout_s),
            policy,
        )


def _local_slots(out: Path, options: RenderOptions) -> Iterator[WorkerSlot]:
    workers, command = options.workers or 1, worker_command(options.python)
    for number, cores in enumerate(split_cores(available_cores(), workers), 1):
        threads = options.threads or len(cores)
        # A single worker keeps all cores: pinning it gains nothing.
        pinned = cores if workers > 1 else None
        start = partial(WorkerProcess, command, out, threads, options.timeout_s, pinned)
        yield WorkerSlot(f"worker {number}", start)
