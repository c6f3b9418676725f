"""Runs all trials of a benchmark, one after another or by an executor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from al_loop.benchmark.run.context import BenchmarkContext
from al_loop.benchmark.run.cycle_run import StrategyStudy
from al_loop.benchmark.run.mix import MixStudy
from al_loop.benchmark.run.progress import OverallProgress
from al_loop.benchmark.run.transfer import TransferStudy
from al_loop.benchmark.run.trial import Executor, Row, Trial
from al_loop.benchmark.spec.spec import MixGrid, StrategyGrid
from al_loop.core.console import Reporter


def study_of(context: BenchmarkContext) -> StrategyStudy | MixStudy | TransferStudy:
    """Return the study of a context."""
    grid = context.spec.grid
    if isinstance(grid, StrategyGrid):
        return StrategyStudy(context, grid)
    return MixStudy(context, grid) if isinstance(grid, MixGrid) else TransferStudy(context, grid)


def run_trials(context: BenchmarkContext, executor: Executor | None, reporter: Reporter) -> list[Row[Any]]:
    """Return the results of all runs, in order; executor: None to run the trials in this process."""
    study = study_of(context)
    rows: list[Row[Any]] = [*study.initial_rows(reporter)]
    trials: list[Trial[Any]] = [*study.trials()]
    if executor is not None:
        return rows + _run_parallel(trials, executor, reporter)
    overall = OverallProgress(reporter, sum(len(trial.runs) for trial in trials))
    for trial in trials:
        reporter.line(f"{trial.name} ({overall})")
        done = run_trial(context, trial, overall, overall.step)
        overall.add(len(trial.runs) - sum(not row.failure for row in done), [])  # those that were not done
        rows += done
    return rows


def run_trial(
    context: BenchmarkContext, trial: Trial[Any], reporter: Reporter, step: Callable[[], None]
) -> list[Row[Any]]:
    """Return the results of a trial's runs; step: called after each that did not fail."""
    rows = list[Row[Any]]()
    for row in study_of(context).run(trial, reporter):
        rows.append(row)
        if row.failure:
            reporter.line(f"  {row.run.name} failed: {row.failure}")
        else:
            reporter.line(f"  {row.run.name}: {row.labels} labels, AP {row.ap:.3f}")
            step()
    return rows


def _run_parallel(trials: list[Trial[Any]], executor: Executor, reporter: Reporter) -> list[Row[Any]]:
    """Run first the shared runs, so that no two trials train the same; then the trials, which read them."""
    first = dict.fromkeys(run for trial in trials for run in trial.shared)
    shared = [Trial(run.name, (run,)) for run in first]
    total = len(shared) + sum(len(trial.runs) - len(trial.shared) for trial in trials)
    overall = OverallProgress(reporter, total, executor.parallel)
    rows: dict[int, list[Row[Any]]] = {}
    with reporter.progress("trainings") as bar:
        bar(0, total)
        for group in (shared, trials):
            for result in executor.run(group):
                trial = group[result.number]
                overall.add(len(trial.runs) - len(trial.shared), result.work_s)
                bar(overall.done, total)
                for line in (*result.lines, f"{trial.name} is done ({overall})"):
                    reporter.line(line)
                rows[result.number] = result.rows  # those of shared runs are overwritten by the trials'
    return [row for number in range(len(trials)) for row in rows[number]]
