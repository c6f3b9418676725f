"""Run a benchmark: check the spec, read the datasets, run the trials that are missing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from al_loop.benchmark.run.context import ContextFactory
from al_loop.benchmark.run.executors import make_executor
from al_loop.benchmark.run.mix import SCHEDULES
from al_loop.benchmark.run.trial import Row
from al_loop.benchmark.run.trials import run_trials
from al_loop.benchmark.spec.datasets import Datasets, check_names
from al_loop.benchmark.spec.initial_models import COCO, SCRATCH
from al_loop.benchmark.spec.spec import BenchmarkSpec, MixGrid, StrategyGrid, claim_folder
from al_loop.core.config import Config
from al_loop.core.console import Reporter
from al_loop.core.errors import ConfigError
from al_loop.core.renamed_settings import RENAMED_STRATEGIES
from al_loop.loop.selection import check_strategy
from al_loop.models.trust import require
from al_loop.state.workspace import Workspace
from al_loop.structures.images import LabelledImage
from strategies import STRATEGIES


@dataclass(frozen=True, eq=False)
class Outcome:
    """A finished benchmark. rendered: images of a mix or transfer study, else empty."""

    spec: BenchmarkSpec
    classes: tuple[str, ...]
    datasets: Datasets
    rendered: list[LabelledImage]
    rows: list[Row[Any]]


@dataclass(frozen=True)
class Execution:
    """How a benchmark is run.

    resume: continue the benchmark in the folder.
    jobs: trials at a time, see `make_executor`.
    ray: address of a Ray cluster.
    """

    resume: bool = False
    jobs: int | None = None
    ray: str | None = None


def run_benchmark(
    out: Path,
    spec: BenchmarkSpec,
    config: Config,
    home: Workspace,
    reporter: Reporter,
    execution: Execution = Execution(),
) -> Outcome:
    """Run what is missing of a benchmark and return all of it.

    out: folder of the results.
    config: settings with the classes.
    home: workspace of the initial models and the rendered images.
    Raises ConfigError for a spec that cannot be run, DataError for datasets that cannot be used.
    """
    check_spec(spec)
    for name in spec.grid.strategies if isinstance(spec.grid, StrategyGrid) else ():
        check_strategy(name, config)
    require(home)
    make_context = ContextFactory(out, spec, config.exact(), home.root)
    context = make_context(reporter)
    with make_executor(make_context, out, execution.jobs, execution.ray) as executor:
        claim_folder(out, context.record, resume=execution.resume)
        with context.workspace.lock():
            rows = run_trials(context, executor, reporter)
    return Outcome(context.spec, config.classes, context.datasets, context.rendered, rows)


def check_spec(spec: BenchmarkSpec) -> None:
    """Raise ConfigError for a spec that cannot be run, before any file is read."""
    check_names(spec.tests, spec.starts)
    for holder, name in ((spec, "seeds"), (spec, "iterations"), (spec.grid, "k"), (spec.grid, "cycles")):
        value = getattr(holder, name, 1)
        if value < 1:
            raise ConfigError(f"--{name}: expected at least 1, got {value}")
    if isinstance(spec.grid, MixGrid):
        _check_mix(spec, spec.grid)
    elif isinstance(spec.grid, StrategyGrid):
        _check_strategies(spec, spec.grid)
    elif list(spec.starts.values()) != [SCRATCH]:
        raise ConfigError(f"--transfer: expected no --start but {SCRATCH}, got {', '.join(spec.starts)}")


def _check_strategies(spec: BenchmarkSpec, grid: StrategyGrid) -> None:
    unknown = [name for name in grid.strategies if name not in STRATEGIES]
    if unknown:
        renamed = [
            f" ({n} is called {RENAMED_STRATEGIES[n]} now)" for n in unknown if n in RENAMED_STRATEGIES
        ]
        new = "".join(renamed)
        raise ConfigError(f"no strategy {', '.join(unknown)}{new}; there are {', '.join(STRATEGIES)}")
    if any(batch < 1 for batch in grid.batches):
        raise ConfigError(f"--batch: expected sizes of at least 1, got {min(grid.batches)}")
    if not grid.strategies or not spec.starts:
        raise ConfigError("expected at least one strategy and one start")
    without = [name for name, model in spec.starts.items() if model in (SCRATCH, COCO)]
    single = "--batch" if grid.batches else "--cycles 1" if grid.cycles == 1 else ""
    if without and single and not all(STRATEGIES[name].unbiased for name in grid.strategies):
        raise ConfigError(
            f"{single} from the start {', '.join(without)}: without a model the first images are picked at "
            "random, the same for every strategy, so there is nothing to compare. Use several cycles "
            "(--k 25 --cycles 4), start from a model (--start current), or use --strategies random alone"
        )


def _check_mix(spec: BenchmarkSpec, grid: MixGrid) -> None:
    unknown = [name for name in grid.schedules if name not in SCHEDULES]
    if unknown or not grid.schedules:
        raise ConfigError(
            f"--schedules: expected some of {', '.join(SCHEDULES)}, got {', '.join(unknown) or 'none'}"
        )
    if grid.total is not None and grid.real:
        raise ConfigError(
            "--total: photographs fill what --synthetic leaves of it. Leave --real out, or leave --total out"
        )
    if len(spec.starts) != 1:
        raise ConfigError(f"--mix: expected one --start, got {', '.join(spec.starts) or 'none'}")
    in_two_parts = [name for name in grid.schedules if SCHEDULES[name].after]
    if in_two_parts and spec.iterations < 2:
        raise ConfigError(
            f"--iterations: expected at least 2, which {in_two_parts[0]} divides, got {spec.iterations}"
        )
