"""Chains of units: the cycles of one strategy with one seed, one after another; several chains side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from al_loop.benchmark.run.cycle_run import (
    BenchmarkContext,
    CycleRun,
    forget_weights,
    judge_start,
    run_cycle_of_trial,
)
from al_loop.benchmark.run.progress import OverallProgress, WorkTime
from al_loop.core.console import Reporter
from al_loop.core.errors import TrainingError

#: In place of a strategy where the first images are drawn by lot.
BY_LOT = "by-lot"

Trial = tuple[CycleRun, ...]


@dataclass(frozen=True)
class Row:
    """One point of a learning curve. hole: why there is none.  by_lot: no strategy picked, but a lot for all of them.

    judged: set -> `al_loop.structures.images.Metrics` and `al_loop.evaluation.detection_counts.Counts` as plain data.
    """

    start: str
    strategy: str
    seed: int
    cycle: int
    batch: int
    labels: int = 0
    boxes: int = 0
    picked: tuple[str, ...] = ()
    by_lot: bool = False
    judged: Mapping[str, Any] | None = None
    seconds: Mapping[str, float] | None = None
    hole: str = ""


@dataclass(frozen=True)
class TrialResult:
    """A chain that others ran: its number among those they were given, its points, and what they had to say."""

    number: int
    rows: list[Row]
    lines: list[str]
    work_time: WorkTime


@dataclass(frozen=True)
class Executor:
    """Others who run chains, so many abreast. run: gives them as they end, in whatever order."""

    abreast: int
    run: Callable[[Sequence[Trial]], Iterator[TrialResult]]


def run_all(context: BenchmarkContext, executor: Executor | None, reporter: Reporter) -> list[Row]:
    """Every point of a benchmark: of the starts, then chain after chain, here or by a executor side by side."""
    rows = []
    for start in context.starts:
        begun = judge_start(context, start, reporter)
        if begun is not None:
            for strategy in context.asked.strategies:
                for seed in range(context.asked.seeds):
                    rows.append(Row(start, strategy, seed, 0, 0, judged=begun["judged"]))
    chains = list(_chains(context))
    return rows + (
        _alone(context, chains, reporter)
        if executor is None
        else _abreast(context, chains, executor, reporter)
    )


def _alone(context: BenchmarkContext, chains: Sequence[Trial], reporter: Reporter) -> list[Row]:
    """Trial after chain, in this process."""
    rows, whole = list[Row](), OverallProgress(reporter, sum(map(len, chains)))
    for chain in chains:
        reporter.line(f"{_name(chain)} ({whole})")
        made = run_trial(context, chain, whole, whole.step)
        whole.skip(len(chain) - sum(not row.hole for row in made))  # what comes after a hole
        rows += made
    return rows


def _abreast(
    context: BenchmarkContext, chains: Sequence[Trial], executor: Executor, reporter: Reporter
) -> list[Row]:
    """First what chains have in common, so that no two do the same; then the rest of them. A part is a training."""
    lots = _by_lot(context, chains)
    mine = [len(chain) - (context.starts[chain[0].start].model is None) for chain in chains]
    whole = OverallProgress(reporter, len(lots) + sum(mine), executor.abreast)
    made: dict[int, list[Row]] = {}
    with reporter.progress("trainings") as bar:
        whole.show(bar)
        for some, parts in ((lots, [1] * len(lots)), (chains, mine)):
            for ended in executor.run(some):
                whole.add(parts[ended.number], ended.work_time)
                whole.show(bar)
                for line in (*ended.lines, f"{_name(some[ended.number])} is done ({whole})"):
                    reporter.line(line)
                made[ended.number] = ended.rows  # of the lots it is overwritten: chains read them, too
    return [row for number in range(len(chains)) for row in made[number]]


def run_trial(
    context: BenchmarkContext, chain: Trial, reporter: Reporter, step: Callable[[], None] = lambda: None
) -> list[Row]:
    """The points of a chain; a training that fails leaves a hole and ends it. step: called after each point."""
    model, labelled, rows = context.starts[chain[0].start].model, list[str](), list[Row]()
    last: CycleRun | None = None
    for run in chain:
        # Without a model to ask, the first images are drawn by lot: one training serves all strategies.
        shared = replace(run, strategy=BY_LOT) if model is None else run
        point = Row(run.start, run.strategy, run.seed, run.cycle, run.batch, by_lot=shared.strategy == BY_LOT)
        try:
            done, model = run_cycle_of_trial(context, shared, model, labelled, reporter)
        except TrainingError as error:
            reporter.line(f"{run.name} failed, its chain ends here: {error}")
            return [*rows, replace(point, hole=str(error))]
        if last is not None and last.strategy != BY_LOT:
            forget_weights(context, last)
        last, labelled = shared, labelled + done["picked"]
        reporter.line(f"  {run.name}: {done['labels']} labels, AP {done['judged']['validation']['ap']:.3f}")
        filled = {name: done[name] for name in ("labels", "boxes", "judged", "seconds")}
        rows.append(replace(point, picked=tuple(done["picked"]), **filled))
        step()
    if last is not None and last.batch:
        forget_weights(context, last)
    return rows


def _chains(context: BenchmarkContext) -> Iterator[Trial]:
    """Cycles that follow one another, or batches, each by itself."""
    asked = context.asked
    for start in context.starts:
        for strategy in asked.strategies:
            for seed in range(asked.seeds):
                for batch in asked.batches:
                    yield (CycleRun(start, strategy, seed, 1, batch, batch),)
                if not asked.batches:
                    yield tuple(CycleRun(start, strategy, seed, n + 1, asked.k) for n in range(asked.cycles))


def _by_lot(context: BenchmarkContext, chains: Sequence[Trial]) -> list[Trial]:
    """The first units that several chains share."""
    shared = (replace(c[0], strategy=BY_LOT) for c in chains if context.starts[c[0].start].model is None)
    return [(run,) for run in dict.fromkeys(shared)]


def _name(chain: Trial) -> str:
    run = chain[0]
    return f"{run.start}/{run.strategy}/seed-{run.seed}" + (f"/batch-{run.batch}" if run.batch else "")
