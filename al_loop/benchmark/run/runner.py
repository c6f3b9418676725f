"""A benchmark: the question checked, the sets read, the chains run; what is done is only read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from al_loop.benchmark.run.cycle_run import BenchmarkContext
from al_loop.benchmark.run.executors import make_executor
from al_loop.benchmark.run.trials import Row, run_all
from al_loop.benchmark.spec.datasets import Sets, check_names, read_sets
from al_loop.benchmark.spec.initial_models import COCO, SCRATCH, start_of
from al_loop.benchmark.spec.spec import Asked, remember
from al_loop.core.config import Config
from al_loop.core.console import Reporter
from al_loop.core.errors import ConfigError
from al_loop.images.repository import labels_hash
from al_loop.models.trust import require
from al_loop.state.database.store import Store
from al_loop.state.workspace import Workspace, open_workspace
from strategies import STRATEGIES


@dataclass(frozen=True)
class Question:
    """What `al-loop benchmark` was asked, as typed. starts: name -> model id, checkpoint, "scratch" or "coco"."""

    data: Path
    validation: Path
    tests: Mapping[str, Path]
    strategies: tuple[str, ...]
    starts: Mapping[str, str]
    k: int
    cycles: int
    batches: tuple[int, ...]
    seeds: int
    iterations: int
    early: bool = False
    anew: bool = False


@dataclass(frozen=True, eq=False)
class Outcome:
    """A benchmark that is done."""

    asked: Asked
    sets: Sets
    rows: list[Row]


@dataclass(frozen=True)
class ContextFactory:
    """How to open the context of a benchmark, here and in another process.

    config: exact, see `Config.exact`.  home: the workspace that starts name.
    """

    out: Path
    question: Question
    config: Config
    home: Path | None

    def __call__(self) -> BenchmarkContext:
        """Read the sets and find the starts."""
        question, config = self.question, self.config
        sets = read_sets(question.data, question.validation, question.tests, config.classes)
        home = None if self.home is None else open_workspace(self.home)
        starts = {name: start_of(what, home, config) for name, what in question.starts.items()}
        asked = Asked(
            pool=labels_hash(sets.pool),
            validation=labels_hash(sets.validation),
            tests={name: labels_hash(images) for name, images in sets.tests.items()},
            starts={name: start.identity for name, start in starts.items()},
            strategies=question.strategies,
            seeds=question.seeds,
            k=question.k,
            cycles=_cycles(question, len(sets.pool)),
            batches=tuple(dict.fromkeys(min(batch, len(sets.pool)) for batch in question.batches)),
            iterations=question.iterations,
            early=question.early,
            anew=question.anew,
            settings=config,
        )
        self.out.mkdir(parents=True, exist_ok=True)
        return BenchmarkContext(Workspace(self.out, config, Store(":memory:")), asked, sets, starts)


def run_benchmark(
    out: Path,
    question: Question,
    config: Config,
    home: Workspace | None,
    reporter: Reporter,
    *,
    resume: bool,
    jobs: int | None = None,
    ray: str | None = None,
) -> Outcome:
    """Run what is missing of a benchmark and return all of it.

    config: settings of model, training and scoring, with the classes.  home: the workspace whose models the starts
    name.  jobs, ray: chains side by side, see `al_loop.benchmark.run.executors`.  Raises ConfigError for a question that cannot be
    asked, DataError for sets that cannot be used.
    """
    check(question)
    if home is not None:
        require(home)
    make_context = ContextFactory(out, question, config.exact(), home.root if home else None)
    context = make_context()
    for line in context.sets.lines:
        reporter.line(line)
    _say_what_was_clipped(question, context, reporter)
    with make_executor(make_context, context.workspace.root, jobs, ray) as executor:
        remember(out, context.asked, resume=resume)
        with context.workspace.lock():
            return Outcome(context.asked, context.sets, run_all(context, executor, reporter))


def check(question: Question) -> None:
    """Refuse what no benchmark can answer, before anything is read."""
    unknown = [name for name in question.strategies if name not in STRATEGIES]
    if unknown:
        raise ConfigError(f"no strategy {', '.join(unknown)}; there are {', '.join(STRATEGIES)}")
    for name in ("k", "cycles", "seeds", "iterations"):
        if getattr(question, name) < 1:
            raise ConfigError(f"--{name}: expected at least 1, got {getattr(question, name)}")
    if any(batch < 1 for batch in question.batches):
        raise ConfigError(f"--batch: expected sizes of at least 1, got {min(question.batches)}")
    if not question.strategies or not question.starts:
        raise ConfigError("expected at least one strategy and one start")
    check_names(question.tests, question.starts)
    _refuse_lots(question)


def _refuse_lots(question: Question) -> None:
    """Without a model the first images are drawn by lot, the same for all: one cycle from there compares nothing."""
    bare = [name for name, what in question.starts.items() if what in (SCRATCH, COCO)]
    once = "--batch" if question.batches else "--cycles 1" if question.cycles == 1 else ""
    if bare and once and not all(STRATEGIES[name].unbiased for name in question.strategies):
        raise ConfigError(
            f"{once} from the start {', '.join(bare)}: without a model the first images are drawn by lot, the same for every "
            "strategy, so there is nothing to compare. Use several cycles (--k 25 --cycles 4), start from a model "
            "(--start current), or ask for --strategies random alone"
        )


def _cycles(question: Question, pool: int) -> int:
    """As many as the pool has images for."""
    return min(question.cycles, -(-pool // question.k))


def _say_what_was_clipped(question: Question, context: BenchmarkContext, reporter: Reporter) -> None:
    pool, asked = len(context.sets.pool), context.asked
    if asked.batches != question.batches:
        reporter.line(f"the pool has {pool} images: batches of {', '.join(map(str, asked.batches))}")
    if not asked.batches and asked.cycles < question.cycles:
        reporter.line(
            f"{question.cycles} cycles of {question.k} are more than the pool's {pool} images: {asked.cycles} cycles"
        )
