"""The scheduler with workers that fail on demand, without processes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import wait
from types import SimpleNamespace
from typing import Any

import pytest

from render import DatasetError, WorkerError
from render.execution import scheduler as scheduler_module
from render.execution.scheduler import (
    NoWorkerLeftError,
    Policy,
    Scheduler,
    TaskFailedError,
    WorkerSlot,
)


class FakeWorker:
    """Doubles numbers. behave(worker, task) may raise, and make the worker unfit."""

    def __init__(self, pool: Pool, slot: str) -> None:
        self.slot, self.fit, self.closed = slot, True, False
        self._pool = pool
        self._one_at_a_time = threading.Lock()

    def prepare(self) -> None:
        self._pool.prepare(self)

    def run(self, task: int) -> int:
        with self._one_at_a_time:
            if not self.fit:
                raise TaskFailedError("crashed")
            self._pool.log.append((self.slot, task))
            self._pool.behave(self, task)
        return 2 * task

    def close(self) -> None:
        self.closed = True

    def lose(self, reason: str = "crashed") -> None:
        self.fit = False
        raise TaskFailedError(reason)


class Pool:
    """A scheduler over slots a, b, ... and what happened."""

    def __init__(
        self,
        slots: str,
        behave: Callable[[FakeWorker, int], None] = lambda worker, task: None,
        prepare: Callable[[FakeWorker], None] = lambda worker: None,
        **policy: Any,
    ) -> None:
        self.behave, self.prepare = behave, prepare
        self.workers: list[FakeWorker] = []
        self.log: list[tuple[str, int]] = []
        self.results: dict[int, int | str] = {}
        self.restarts: list[tuple[str, str]] = []
        self.left_out: list[tuple[str, str]] = []
        self.gone: set[str] = set()
        options = {"attempts": 2, **policy}
        self._policy = Policy(
            **options,
            on_restart=lambda name, reason: self.restarts.append((name, reason)),
            on_left_out=lambda name, error: self.left_out.append((name, str(error))),
        )
        self._slots = [
            WorkerSlot(name, lambda name=name: self._start(name), lambda name=name: name not in self.gone)  # type: ignore[misc]
            for name in slots
        ]

    def _start(self, slot: str) -> FakeWorker:
        self.workers.append(FakeWorker(self, slot))
        return self.workers[-1]

    def run(self, tasks: Iterable[int], check: Callable[[], None] = lambda: None) -> None:
        def keep(task: int, result: int | TaskFailedError) -> None:
            assert task not in self.results
            self.results[task] = str(result) if isinstance(result, TaskFailedError) else result

        try:
            Scheduler(self._slots, self._policy, check).run(tasks, keep)
        finally:
            assert all(worker.closed for worker in self.workers)

    @property
    def tasks(self) -> list[int]:
        return [task for _, task in self.log]


def doubled(count: int) -> dict[int, int]:
    return {task: 2 * task for task in range(count)}


def test_every_task_is_run_once_by_workers_that_stay() -> None:
    both = threading.Barrier(2, timeout=10)
    pool = Pool("ab", lambda worker, task: both.wait() and None if task < 2 else None)
    pool.run(range(6))
    assert pool.results == doubled(6)
    assert sorted(pool.tasks) == list(range(6))
    assert [worker.slot for worker in pool.workers] == ["a", "b"]


def test_no_more_workers_are_started_than_there_are_tasks() -> None:
    pool = Pool("abcd")
    pool.run(range(2))
    assert [worker.slot for worker in pool.workers] == ["a", "b"]
    Pool("a").run([])


def test_a_task_that_fails_is_tried_again_before_the_others_and_given_up() -> None:
    def fail(worker: FakeWorker, task: int) -> None:
        if task == 1:
            raise TaskFailedError("odd")

    pool = Pool("a", fail)
    pool.run(range(4))
    assert pool.results == {**doubled(4), 1: "odd"}
    assert pool.tasks == [0, 1, 1, 2, 3]
    assert len(pool.workers) == 1


def test_a_lost_worker_is_replaced_and_costs_its_tasks_one_attempt() -> None:
    failures = [2, 5]

    def lose(worker: FakeWorker, task: int) -> None:
        if task in failures:
            failures.remove(task)
            worker.lose()

    pool = Pool("ab", lose, in_flight=2)
    pool.run(range(8))
    assert pool.results == doubled(8)
    assert [reason for _, reason in pool.restarts] == ["crashed", "crashed"]


def test_only_the_oldest_task_of_a_lost_worker_is_at_fault() -> None:
    """Task 0 ends two workers; task 1 waited there both times."""
    pool = Pool("a", lambda worker, task: worker.lose() if task == 0 else None, in_flight=2)
    pool.run(range(3))
    assert pool.results == {0: "crashed", 1: 2, 2: 4}
    assert pool.tasks.count(0) == 2


def test_a_result_that_is_ready_when_its_worker_is_lost_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def failures_first(futures: Any, *_: object) -> SimpleNamespace:
        return SimpleNamespace(done=sorted(wait(futures, 10).done, key=lambda f: f.exception() is None))

    monkeypatch.setattr(scheduler_module, "wait", failures_first)
    pool = Pool("a", lambda worker, task: worker.lose() if task == 1 else None, in_flight=2)
    pool.run(range(3))
    assert pool.results == {0: 0, 1: "crashed", 2: 4}
    assert pool.tasks.count(0) == 1


@pytest.mark.parametrize("in_flight", [1, 2])
def test_a_worker_is_sent_so_many_tasks_at_a_time_and_one_more_is_prepared(in_flight: int) -> None:
    taken: list[int] = []
    counts: list[int] = []

    def behave(worker: FakeWorker, task: int) -> None:
        time.sleep(0.02)
        counts.append(len(taken))

    pool = Pool("a", behave, in_flight=in_flight)
    pool.run(taken.append(task) or task for task in range(6))
    assert counts[0] == in_flight + 1
    assert pool.results == doubled(6)


def test_an_unfit_worker_is_replaced_after_a_success() -> None:
    def age(worker: FakeWorker, task: int) -> None:
        worker.fit = task % 2 == 0

    pool = Pool("a", age)
    pool.run(range(5))
    assert pool.results == doubled(5)
    assert len(pool.workers) == 3
    assert pool.restarts == []


def test_a_slot_that_cannot_start_is_left_out_and_the_last_ends_the_run() -> None:
    def prepare(worker: FakeWorker) -> None:
        if worker.slot != "b":
            raise WorkerError(f"no bpy for {worker.slot}")

    pool = Pool("abc", prepare=prepare)
    pool.run(range(4))
    assert pool.results == doubled(4)
    assert sorted(pool.left_out) == [("a", "no bpy for a"), ("c", "no bpy for c")]
    pool = Pool("ac", prepare=prepare)
    with pytest.raises(NoWorkerLeftError, match=r"[ac]: no bpy for [ac]; [ac]: no bpy for [ac]") as info:
        pool.run(range(4))
    assert isinstance(info.value.__cause__, WorkerError)


def test_a_run_does_not_wait_for_workers_that_it_no_longer_needs() -> None:
    def prepare(worker: FakeWorker) -> None:
        while worker.slot == "b" and not worker.closed:
            time.sleep(0.001)

    pool = Pool("ab", prepare=prepare)
    pool.run(range(4))
    assert pool.results == doubled(4)
    assert {slot for slot, _ in pool.log} == {"a"}


def test_tasks_of_a_worker_that_turns_out_unusable_go_to_the_others() -> None:
    def behave(worker: FakeWorker, task: int) -> None:
        if worker.slot == "b":
            raise WorkerError("no GPU")
        time.sleep(0.01)

    pool = Pool("ab", behave, in_flight=2)
    pool.run(range(6))
    assert pool.results == doubled(6)
    assert pool.left_out == [("b", "no GPU")]


def test_a_slot_that_is_gone_is_not_restarted() -> None:
    def lose(worker: FakeWorker, task: int) -> None:
        if worker.slot == "b":
            pool.gone.add("b")
            worker.lose("the node is gone")
        time.sleep(0.01)

    pool = Pool("ab", lose)
    pool.run(range(6))
    assert pool.results == doubled(6)
    assert (pool.left_out, pool.restarts) == ([("b", "the node is gone")], [])


def test_a_slot_that_loses_worker_after_worker_is_left_out() -> None:
    pool = Pool("a", prepare=FakeWorker.lose, losses=3)
    with pytest.raises(NoWorkerLeftError, match="a: crashed"):
        pool.run(range(4))
    assert len(pool.workers) == 3


def test_a_result_ends_the_row_of_losses() -> None:
    pool = Pool("a", lambda worker, task: worker.lose() if task % 2 else None, attempts=1, losses=2)
    pool.run(range(6))
    assert [task for task, result in pool.results.items() if result == "crashed"] == [1, 3, 5]


@pytest.mark.parametrize("error", [DatasetError("disk full"), KeyboardInterrupt()])
def test_any_other_error_ends_the_run_and_all_workers(error: BaseException) -> None:
    def behave(worker: FakeWorker, task: int) -> None:
        if worker.slot == "a":
            raise error
        while not worker.closed:
            time.sleep(0.001)
        worker.lose()

    pool = Pool("ab", behave)
    with pytest.raises(type(error)):
        pool.run(range(9))


def test_the_check_is_called_while_workers_are_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler_module, "CHECK_S", 0.01)
    checks: list[float] = []

    def check() -> None:
        checks.append(time.monotonic())
        if len(checks) == 3:
            raise WorkerError("in vain")

    def behave(worker: FakeWorker, task: int) -> None:
        while not worker.closed:
            time.sleep(0.001)

    with pytest.raises(WorkerError, match="in vain"):
        Pool("a", behave).run(range(2), check)
