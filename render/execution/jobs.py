"""Jobs of a rendering: one scene each. Which images are missing, and which scenes are given up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from render.annotation.record_store import Record, commit, is_done
from render.core.errors import WorkerCrashedError
from render.core.spec import SceneSpec
from render.execution.scheduler import TaskFailedError

#: A scene is given up after this many crashes or timeouts.
ATTEMPTS = 2
#: The rendering stops after this many failed scenes in a row: the scenes are not the cause.
GIVE_UP_AFTER = 3


@dataclass(frozen=True)
class Job:
    """A scene, and the indices of its images that are still missing."""

    spec: SceneSpec
    images: tuple[int, ...]

    def missing(self, out: Path) -> tuple[int, ...]:
        """Return the images without a record in a dataset."""
        return tuple(image for image in self.images if not is_done(out, image))


def run_job(job: Job, out: Path, ask: Callable[[Job], str | None]) -> None:
    """Render the missing images of a job; raises TaskFailedError if any is still missing.

    ask: renders the images of a job into `out`; returns None, or why that failed.
    """
    reason = ask(replace(job, images=job.missing(out)))
    if left := job.missing(out):
        raise TaskFailedError(reason or f"the worker is done, but image {left[0]} was not written")


class FailureTracker:
    """Records failed scenes once another scene succeeds. If none does, the scenes are not the cause."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self._streak: list[tuple[Job, str]] = []
        self._succeeded = False

    def add(self, job: Job, reason: str | None) -> None:
        """Note how a job ended; raises WorkerCrashedError at GIVE_UP_AFTER failures in a row.

        reason: why it failed; None for success.
        """
        if reason is None:
            self._succeeded = True
            self._record()
            return
        self._streak.append((job, reason))
        if len(self._streak) >= GIVE_UP_AFTER:
            raise self._error()

    def close(self) -> None:
        """Record the last failures; raises WorkerCrashedError when no scene succeeded."""
        if self._streak and not self._succeeded:
            raise self._error()
        self._record()

    def _record(self) -> None:
        for job, reason in self._streak:
            for image in job.missing(self._out):
                spec, view = job.spec, [view.index for view in job.spec.views].index(image)
                identity = (image, spec.index, view, spec.seed)
                commit(self._out, Record(*identity, "failed", spec.width, spec.height, reason=reason), None)
        self._streak = []

    def _error(self) -> WorkerCrashedError:
        job, reason = self._streak[-1]
        return WorkerCrashedError(
            f"{len(self._streak)} scenes in a row failed, the last (scene {job.spec.index}, "
            f"image {job.images[0]}): {reason.strip()}; see {self._out / 'render.log'}, "
            "then run the same command again"
        )
