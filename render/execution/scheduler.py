"""Many scenes on one or more workers: try again, renew, give up on a scene, stop when it is hopeless."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol

from render.annotation.record_store import Record, commit, is_done
from render.core.errors import WorkerCrashedError, WorkerError
from render.core.spec import SceneSpec

#: A scene is given up after this many crashes or timeouts.
ATTEMPTS = 2
#: This many scenes given up one after another: it is not the scenes.
GIVE_UP_AFTER = 3


@dataclass(frozen=True)
class Job:
    """A scene, and the numbers of its images that are still missing."""

    spec: SceneSpec
    images: tuple[int, ...]


class Hand(Protocol):
    """Whatever renders a job: a process of this machine, or of another."""

    def prepare(self) -> None:
        """Wait until it can take a job; raises WorkerError when it never will."""

    def ask(self, job: Job, timeout_s: float) -> str | None:
        """Have the images made and committed; None when done, else why not."""

    @property
    def fit(self) -> bool:
        """Whether it may take another job; if not, a fresh one is due."""

    def close(self) -> None:
        """End it; may be called from another thread while `ask` waits, which then returns."""


class _Post:
    """The place of one worker: manned when needed, again after a crash, until it is closed."""

    def __init__(self, start: Callable[[], Hand], out: Path, timeout_s: float) -> None:
        self._start, self._out, self._timeout_s = start, out, timeout_s
        self._hand: Hand | None = None
        self._closed = threading.Event()
        self._lock = threading.Lock()  # nobody is taken on after the close, which comes from another thread

    def render(self, job: Job) -> str | None:
        """None when all images of the job are committed, else why the last of ATTEMPTS failed."""
        reason, left = None, job.images
        for _ in range(ATTEMPTS):
            hand = self._manned()
            if hand is None:
                return "stopped"
            # A scene has as much time as its images together: it is answered as a whole.
            reason = hand.ask(replace(job, images=left), self._timeout_s * len(left))
            left = tuple(image for image in left if not is_done(self._out, image))
            if not left:
                return None
            reason = reason or f"the worker is done, but image {left[0]} was not written"
        return reason

    def close(self) -> None:
        """Let the worker go, and take on no other."""
        with self._lock:
            self._closed.set()
            self._dismiss()

    def _manned(self) -> Hand | None:
        with self._lock:
            if self._hand is not None and self._hand.fit:
                return self._hand
            self._dismiss()
            if self._closed.is_set():
                return None
            hand = self._hand = self._start()
        try:
            hand.prepare()
        except WorkerError:
            if self._closed.is_set():
                return None
            raise
        return hand

    def _dismiss(self) -> None:
        if self._hand is not None:
            self._hand.close()
        self._hand = None


class _Ledger:
    """What failed. Judgement waits until another scene succeeds: if none does, it is not the scenes."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self._streak: list[tuple[Job, str]] = []
        self._succeeded = False

    def add(self, job: Job, reason: str | None) -> None:
        """Note how a job ended; raises WorkerCrashedError when GIVE_UP_AFTER in a row failed."""
        if reason is None:
            self._succeeded = True
            self._convict()
            return
        self._streak.append((job, reason))
        if len(self._streak) >= GIVE_UP_AFTER:
            raise self._hopeless()

    def close(self) -> None:
        """Record the last failures; raises WorkerCrashedError when nothing else happened."""
        if self._streak and not self._succeeded:
            raise self._hopeless()
        self._convict()

    def _convict(self) -> None:
        for job, reason in self._streak:
            for image in job.images:
                if not is_done(self._out, image):
                    commit(self._out, failed_record(job.spec, image, reason), None)
        self._streak = []

    def _hopeless(self) -> WorkerCrashedError:
        job, reason = self._streak[-1]
        return WorkerCrashedError(
            f"{len(self._streak)} scenes in a row failed, the last (scene {job.spec.index}, image "
            f"{job.images[0]}): {reason.strip()}; see {self._out / 'render.log'}, then run the same command again"
        )


def render_all(
    jobs: Iterable[Job],
    start: Callable[[int], Hand],
    out: Path,
    *,
    timeout_s: float,
    on_done: Callable[[int], None],
    workers: int = 1,
    on_warning: Callable[[str], None] | None = None,
) -> None:
    """Render every job on `workers` hands, `start(seat)` makes one for seat 0 to workers - 1.

    `on_done` is called in this thread for every image. A hand that cannot be had is left out, which `on_warning` is told;
    the last one's error is raised. A scene that fails ATTEMPTS times is recorded as
    failed, with its seed, and skipped. When GIVE_UP_AFTER in a row fail, or all there are, it is not the
    scenes: WorkerCrashedError, and nothing is held against them.
    """
    posts = [_Post(partial(start, seat), out, timeout_s) for seat in range(workers)]
    ledger = _Ledger(out)
    with ThreadPoolExecutor(workers, thread_name_prefix="render") as threads:
        try:
            for job, reason in _worked(iter(jobs), posts, threads, on_warning or (lambda sentence: None)):
                ledger.add(job, reason)
                for image in job.images:
                    on_done(image)
            ledger.close()
        finally:
            for post in posts:
                post.close()


def _worked(
    jobs: Iterator[Job], posts: list[_Post], threads: ThreadPoolExecutor, warn: Callable[[str], None]
) -> Iterator[tuple[Job, str | None]]:
    """Jobs as they end, with the reason of those that failed."""
    free, busy = list(posts), dict[Future[str | None], tuple[_Post, Job]]()
    returned: list[Job] = []  # by posts that cannot be manned
    ahead = next(jobs, None)
    while ahead is not None or busy:
        while ahead is not None and free:
            post = free.pop()
            busy[threads.submit(post.render, ahead)] = post, ahead
            # The next scene is planned while this one is rendered.
            ahead = returned.pop() if returned else next(jobs, None)
        for ended in wait(busy, return_when=FIRST_COMPLETED).done:
            post, job = busy.pop(ended)
            try:
                reason = ended.result()
            except WorkerError as error:
                if not free and not busy:
                    raise
                warn(f"{error}; the others go on")
                post.close()
                if ahead is None:
                    ahead = job
                else:
                    returned.append(job)
                continue
            free.append(post)
            yield job, reason


def failed_record(spec: SceneSpec, image: int, reason: str) -> Record:
    """What is kept of an image that was given up."""
    view = next(number for number, view in enumerate(spec.views) if view.index == image)
    return Record(
        index=image,
        scene=spec.index,
        view=view,
        seed=spec.seed,
        status="failed",
        width=spec.width,
        height=spec.height,
        reason=reason,
    )
