"""Distribute tasks over workers: retry failed tasks, replace lost workers, leave out those that cannot run.

A worker is a process of this machine or an actor of a Ray cluster: the scheduler knows neither.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Protocol

from render.core.errors import WorkerError

#: Longest time in seconds between two checks.
CHECK_S = 5.0


class TaskFailedError(Exception):
    """A task failed or its worker was lost; the message says why. The task may be retried."""


class NoWorkerLeftError(Exception):
    """No slot can have a worker any more; `__cause__` is why the last one was left out."""


class Worker(Protocol):
    """Runs tasks. The scheduler calls `prepare` and `run` in threads."""

    def prepare(self) -> None:
        """Wait until it accepts tasks; raises WorkerError if no worker can run in this slot."""

    def run(self, task: Any) -> Any:
        """Return the result of a task; raises TaskFailedError if it may be retried."""

    @property
    def fit(self) -> bool:
        """Whether it accepts another task; if not, it is replaced."""

    def close(self) -> None:
        """End it. `run`, which may wait in another thread, then returns or raises."""


@dataclass(eq=False)
class WorkerSlot:
    """A place for one worker at a time.

    start: makes a worker; may raise WorkerError.
    can_restart: whether a lost worker can be replaced.
    running: tasks that the worker was sent, the oldest first.
    """

    name: str
    start: Callable[[], Worker]
    can_restart: Callable[[], bool] = lambda: True
    worker: Worker | None = None
    ready: bool = False
    losses: int = 0
    running: list[Any] = field(default_factory=list)

    def close(self) -> None:
        """End the worker, if there is one."""
        worker, self.worker, self.ready = self.worker, None, False
        if worker is not None:
            worker.close()


@dataclass(frozen=True)
class Policy:
    """When the scheduler gives up, and what it reports.

    attempts: failures after which a task is given up.
    losses: workers that a slot may lose in a row.
    in_flight: tasks that a worker is sent at a time; it works on the oldest.
    on_restart: called with the slot's name and a reason when a lost worker is replaced.
    on_left_out: called with the slot's name and the error when other slots remain.
    """

    attempts: int
    losses: float = math.inf
    in_flight: int = 1
    on_restart: Callable[[str, str], None] = lambda name, reason: None
    on_left_out: Callable[[str, Exception], None] = lambda name, error: None


class Scheduler:
    """Runs tasks on the workers of some slots.

    check: called at least every CHECK_S seconds; may raise.
    """

    def __init__(
        self, slots: Sequence[WorkerSlot], policy: Policy, check: Callable[[], None] = lambda: None
    ) -> None:
        self._slots, self._policy, self._check = list(slots), policy, check
        self._threads = ThreadPoolExecutor(len(slots) * policy.in_flight, thread_name_prefix="worker")
        self._queue = deque[Any]()
        self._futures = dict[Future[Any], tuple[WorkerSlot, Any]]()
        self._failures = Counter[int]()
        self._reasons: list[str] = []
        self._tasks: Iterator[Any] = iter(())
        self._on_result: Callable[[Any, Any], None]

    def run(self, tasks: Iterable[Any], on_result: Callable[[Any, Any], None]) -> None:
        """Run all tasks; call `on_result(task, result)` in this thread as they end.

        The result of a task that was given up is its TaskFailedError. The next task is taken from the
        iterable while others run. Raises NoWorkerLeftError, and what `Worker.run` or a callback raises.
        """
        self._tasks, self._on_result = iter(tasks), on_result
        try:
            while self._assign():
                for future in wait(self._futures, CHECK_S, FIRST_COMPLETED).done:
                    if future in self._futures:  # else its worker was lost
                        self._collect(future, *self._futures.pop(future))
                self._check()
        finally:
            self._threads.shutdown(wait=False, cancel_futures=True)
            for slot in self._slots:
                slot.close()
            self._threads.shutdown()

    def _assign(self) -> bool:
        """Give tasks to free workers and start missing workers; False if no task is left."""
        for slot in self._slots:
            # If tasks are running, their futures say why it is unfit.
            if slot.worker is not None and slot.ready and not slot.running and not slot.worker.fit:
                slot.close()
        while free := [s for s in self._slots if s.ready and len(s.running) < self._policy.in_flight]:
            if not self._queued(1):
                break
            slot, task = min(free, key=lambda slot: len(slot.running)), self._queue.popleft()
            assert slot.worker is not None
            slot.running.append(task)
            self._futures[self._threads.submit(slot.worker.run, task)] = slot, task
        starting = sum(slot.worker is not None and not slot.ready for slot in self._slots)
        for slot in [slot for slot in self._slots if slot.worker is None]:
            if self._queued(starting + 1):
                starting += self._start(slot)
        return self._queued(1) or any(slot.running for slot in self._slots)

    def _queued(self, count: int) -> bool:
        """Whether so many tasks wait, taken from the iterable if need be."""
        self._queue.extend(islice(self._tasks, max(0, count - len(self._queue))))
        return len(self._queue) >= count

    def _start(self, slot: WorkerSlot) -> bool:
        try:
            slot.worker = slot.start()
        except WorkerError as error:
            self._leave_out(slot, error)
            return False
        self._futures[self._threads.submit(slot.worker.prepare)] = slot, None
        return True

    def _collect(self, future: Future[Any], slot: WorkerSlot, task: Any) -> None:
        assert slot.worker is not None
        try:
            result = future.result()
        except WorkerError as error:
            self._leave_out(slot, error)
        except TaskFailedError as error:
            if slot.worker.fit and slot.ready:
                slot.running.remove(task)
                self._retry([task], error)
            else:
                self._lose(slot, error)
        else:
            if slot.ready:
                slot.running.remove(task)
                slot.losses = 0
                del self._failures[id(task)]
                self._on_result(task, result)
            slot.ready = True

    def _lose(self, slot: WorkerSlot, error: TaskFailedError) -> None:
        slot.losses += 1
        slot.close()
        self._keep_results(slot)
        # The worker was busy with the oldest task that has no result: only it failed.
        self._retry(self._take_back(slot), error)
        if slot.losses < self._policy.losses and slot.can_restart():
            self._policy.on_restart(slot.name, str(error))
        else:
            self._leave_out(slot, error)

    def _keep_results(self, slot: WorkerSlot) -> None:
        """Report the tasks that a closed worker had finished before it was lost."""
        tasks = {future: task for future, (owner, task) in self._futures.items() if owner is slot}
        for future in wait(tasks, CHECK_S).done:
            if future.exception() is None:
                del self._futures[future]
                slot.running.remove(tasks[future])
                self._on_result(tasks[future], future.result())

    def _retry(self, tasks: list[Any], error: TaskFailedError) -> None:
        """Queue tasks again, of which the first failed; or give that up."""
        self._queue.extendleft(reversed(tasks))
        if tasks:
            self._failures[id(tasks[0])] += 1
            if self._failures[id(tasks[0])] >= self._policy.attempts:
                del self._failures[id(tasks[0])]
                self._on_result(self._queue.popleft(), error)

    def _take_back(self, slot: WorkerSlot) -> list[Any]:
        """End a slot's worker; return the tasks that it was sent."""
        slot.close()
        self._futures = {future: owner for future, owner in self._futures.items() if owner[0] is not slot}
        tasks, slot.running = slot.running, []
        return tasks

    def _leave_out(self, slot: WorkerSlot, error: Exception) -> None:
        self._queue.extendleft(reversed(self._take_back(slot)))
        self._slots.remove(slot)
        self._reasons.append(f"{slot.name}: {error}")
        if not self._slots:
            raise NoWorkerLeftError("; ".join(self._reasons)) from error
        self._policy.on_left_out(slot.name, error)
