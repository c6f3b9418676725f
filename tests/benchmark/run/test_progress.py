"""How far a sweep is, by a clock of ours."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from al_loop.benchmark.run import progress as overall
from al_loop.benchmark.run.progress import OverallProgress, WorkTime
from al_loop.benchmark.run.trials import Executor, Row, Trial, TrialResult, run_all
from al_loop.benchmark.spec.initial_models import Start
from al_loop.core.console import Silent


def test_what_is_left_goes_by_what_was_worked_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(overall.time, "monotonic", lambda: clock[0])
    whole = OverallProgress(Silent(), 10)
    assert str(whole) == "0 of 10"
    for seconds in (0.1, 0.1, 100.0, 200.0):
        clock[0] += seconds
        whole.step()
    # Two were only read; the others took 150 s each, and six are left.
    assert str(whole) == "4 of 10, about 15 min left"
    whole.skip(5)
    clock[0] += 150
    whole.step()
    assert str(whole) == "10 of 10"


def test_bars_say_it_and_lines_do_not() -> None:
    shown: list[str] = []

    class Told(Silent):
        def progress(self, description: str):  # type: ignore[no-untyped-def]
            shown.append(description)
            return super().progress(description)

    told = Told()
    whole = OverallProgress(told, 3)
    whole.line("hello")
    with whole.progress("train"):
        whole.step()
    assert (told.lines, shown) == (["hello"], ["0 of 3 · train"])


def test_chains_that_end_together_share_the_time() -> None:
    """16 chains of 10 min, 4 at a time: after the first four, three times ten minutes are left."""
    whole = OverallProgress(Silent(), 16, abreast=4)
    for _ in range(4):
        whole.add(1, WorkTime(1, 600.0))
    assert str(whole) == "4 of 16, about 30 min left"
    whole.add(10, WorkTime())  # what was only read says nothing of the rest, and two of four may run
    assert str(whole) == "14 of 16, about 10 min left"


def test_a_crew_has_one_count_a_bar_and_rows_in_order() -> None:
    """Two strategies, two seeds, two cycles from nothing: two trainings by lot, then one in each chain, ending backwards."""
    shown: list[tuple[int, int]] = []

    class Told(Silent):
        @contextmanager
        def progress(self, description: str) -> Iterator[Any]:
            assert description == "trainings"
            yield lambda done, total, text="": shown.append((done, total))

    def backwards(chains: Sequence[Trial]) -> Iterator[TrialResult]:
        for number, chain in reversed(list(enumerate(chains))):
            rows = [Row(u.start, u.strategy, u.seed, u.cycle, 0) for u in chain]
            yield TrialResult(number, rows, [f"cycles of {chain[0].strategy}"], WorkTime(1, 600.0))

    asked = SimpleNamespace(strategies=("random", "dbal"), seeds=2, cycles=2, k=3, batches=())
    context: Any = SimpleNamespace(starts={"scratch": Start(None)}, asked=asked)
    told = Told()
    rows = run_all(context, Executor(2, backwards), told)
    assert [(r.strategy, r.seed, r.cycle) for r in rows] == [
        (strategy, seed, cycle) for strategy in asked.strategies for seed in (0, 1) for cycle in (1, 2)
    ]
    assert shown == [(done, 6) for done in range(7)]
    assert told.lines[1] == "scratch/by-lot/seed-1 is done (1 of 6, about 25 min left)"
    assert told.lines[-2:] == ["cycles of random", "scratch/random/seed-0 is done (6 of 6)"]
