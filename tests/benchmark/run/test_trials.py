"""How trials are run: in order here, in any order by an executor."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.benchmark_specs import CONFIG, change, fake_trainings, mix_spec, run, strategy_spec

from al_loop.benchmark.run.runner import run_benchmark
from al_loop.benchmark.run.trial import Executor, Row, Trial, TrialResult
from al_loop.benchmark.run.trials import run_trials
from al_loop.benchmark.spec.initial_models import InitialModel
from al_loop.benchmark.spec.spec import StrategyGrid
from al_loop.core.console import Silent
from al_loop.core.errors import ClusterError
from al_loop.state.workspace import Workspace


def test_an_executor_gives_one_count_one_bar_and_rows_in_order() -> None:
    """Two strategies, seeds and cycles from scratch: two shared trainings, then one in each trial."""
    shown: list[tuple[int, int]] = []

    class Recorder(Silent):
        @contextmanager
        def progress(self, description: str) -> Iterator[Any]:
            assert description == "trainings"
            yield lambda done, total, text="": shown.append((done, total))

    def backwards(trials: Sequence[Trial[Any]]) -> Iterator[TrialResult]:
        for number, trial in reversed(list(enumerate(trials))):
            lines = [f"cycles of {trial.runs[0].strategy}"]
            yield TrialResult(number, [Row(run) for run in trial.runs], lines, [600.0])

    grid = StrategyGrid(strategies=("random", "dbal"), k=3, cycles=2)
    context: Any = SimpleNamespace(
        initial_models={"scratch": InitialModel(None)}, spec=SimpleNamespace(seeds=2, grid=grid)
    )
    reporter = Recorder()
    rows = run_trials(context, Executor(2, backwards), reporter)
    assert [(r.run.strategy, r.run.seed, r.run.cycle) for r in rows] == [
        (strategy, seed, cycle) for strategy in grid.strategies for seed in (0, 1) for cycle in (1, 2)
    ]
    assert shown == [(done, 6) for done in range(7)]
    assert reporter.lines[1] == "scratch/at-random/seed-1/cycle-1 is done (1 of 6, about 25 min left)"
    assert reporter.lines[-2:] == ["cycles of random", "scratch/random/seed-0 is done (6 of 6)"]


@pytest.mark.train
@pytest.mark.parametrize(
    ("kind", "execution"),
    [
        pytest.param("strategies", {"jobs": 2}, id="processes", marks=pytest.mark.slow),
        pytest.param("mix", {"jobs": 2}, id="processes-mix", marks=pytest.mark.slow),
        pytest.param("strategies", {"ray": "local", "jobs": 1}, id="ray", marks=pytest.mark.slow),
    ],
)
def test_parallel_trials_give_the_same(
    kind: str,
    execution: dict[str, Any],
    workspace: Workspace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The runs here are trained by stand-ins: only what does not depend on weights is compared."""
    spec = change(strategy_spec(tmp_path) if kind == "strategies" else mix_spec(tmp_path), iterations=2)
    if kind == "mix":
        spec = change(spec, schedules=("joint",), real=("2",))
    parallel, _ = run(tmp_path / "parallel", spec, workspace, **execution)
    assert all(row.metrics for row in parallel.rows)
    fake_trainings(monkeypatch)
    alone, _ = run(tmp_path / "alone", spec, workspace)
    assert [(row.run, row.labels) for row in alone.rows] == [(row.run, row.labels) for row in parallel.rows]
    picked = [(a.picked, b.picked) for a, b in zip(alone.rows, parallel.rows, strict=True) if a.at_random]
    assert all(a == b for a, b in picked)


def test_without_ray_the_error_names_the_extra(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    from al_loop.benchmark.run.runner import Execution

    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ClusterError, match=r"pip install 'al-loop\[ray\]'"):
        run_benchmark(
            tmp_path / "out", strategy_spec(tmp_path), CONFIG, workspace, Silent(), Execution(ray="auto")
        )
