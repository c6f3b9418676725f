"""One unit of a benchmark: one cycle of one strategy with one seed, killed and taken up again at no loss."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from al_loop.benchmark.run.evaluation import RECIPE, counting, fixed_steps, judged
from al_loop.benchmark.spec.datasets import Sets
from al_loop.benchmark.spec.initial_models import Start
from al_loop.benchmark.spec.spec import Asked, read_settings
from al_loop.core.console import Reporter
from al_loop.core.files import json_hash, read_json, write_json
from al_loop.loop.pool_scoring import context_for, known_of, score_for
from al_loop.loop.selection import pick
from al_loop.models import service
from al_loop.state.model_registry import WEIGHTS, Model
from al_loop.state.prediction_store import ShardStore
from al_loop.state.stages import Output, Stage, run_stage
from al_loop.state.workspace import Workspace
from al_loop.structures.images import LabelledImage
from strategies import STRATEGIES

#: Validations of a training that may stop early.
_LOOKS = 8


@dataclass(frozen=True)
class CycleRun:
    """Cycle `cycle`, from 1, of a chain; `k` images are picked in it."""

    start: str
    strategy: str
    seed: int
    cycle: int
    k: int
    batch: int = 0  # of a one-cycle benchmark: its size

    @property
    def name(self) -> str:
        """Where its files are."""
        size = f"batch-{self.batch}" if self.batch else f"cycle-{self.cycle}"
        return f"{self.start}/{self.strategy}/seed-{self.seed}/{size}"


@dataclass(frozen=True, eq=False)
class BenchmarkContext:
    """Everything that units share; starts by name.

    The workspace has no images: its folder holds the units, its settings are those of the trainings.
    """

    workspace: Workspace
    asked: Asked
    sets: Sets
    starts: dict[str, Start]

    def training_in(self, start: str) -> Workspace:
        """The workspace with the checkpoint that a training of this start begins with, if any."""
        return self.starts[start].training_in(self.workspace)


def judge_start(context: BenchmarkContext, start: str, reporter: Reporter) -> Output | None:
    """Metrics of the model that a chain begins with, before any label; None where there is none."""
    model = context.starts[start].model
    if model is None:
        return None

    def work(folder: Path) -> Output:
        return {
            "labels": 0,
            "boxes": 0,
            "judged": judged(context.workspace, context.sets, model, folder, reporter),
        }

    inputs = {"weights": model.weights_sha256, **_judging(context)}
    return run_stage(
        context.workspace.store,
        Stage(f"{start}/start", "unit", folder_of(context.workspace, f"{start}/start"), inputs),
        work,
    )


def run_cycle_of_trial(
    context: BenchmarkContext,
    run: CycleRun,
    before: Model | None,
    labelled: Sequence[str],
    reporter: Reporter,
) -> tuple[Output, Model]:
    """Pick, label, train and judge; what was done before is only read.

    before: the model that scores the pool, None for none yet.  labelled: images that have labels so far.
    """
    asked, folder = context.asked, folder_of(context.workspace, run.name)
    inputs = {
        "before": before.weights_sha256 if before else "",
        "labelled": json_hash(sorted(labelled)),
        "unit": asdict(run),
        "pool": asked.pool,
        "recipe": RECIPE,
        "iterations": asked.iterations,
        "early": asked.early,
        "anew": asked.anew,
        "settings": read_settings(asked),
        **_judging(context),
    }

    def work(partial: Path) -> Output:
        began = time.monotonic()
        chosen = _chosen(context, run, before, labelled, partial, reporter)
        picked = time.monotonic()
        known = set(labelled) | set(chosen)
        training = [item for item in context.sets.pool if item.image.id in known]
        start = context.starts[run.start].model if asked.anew or before is None else before
        own = asked.settings.pretrain if start is None else asked.settings.train
        looks = _LOOKS if asked.early else 1
        settings = fixed_steps(own, asked.iterations, len(training), run.seed, looks=looks)
        with reporter.progress(f"{run.name}: train") as progress:
            done = service.train_model(
                context.training_in(run.start),
                partial,
                start,
                training,
                context.sets.validation,
                settings,
                progress,
                asked.iterations,
            )
        trained = time.monotonic()
        model = _model(run.name, partial, done)
        return {
            "picked": chosen,
            "labels": len(training),
            "boxes": sum(len(item.boxes) for item in training),
            "class_quality": done["class_quality"],
            "precision": done["precision"],
            "weights_sha256": done["weights_sha256"],
            "config_sha256": done.get("config_sha256"),
            "judged": judged(context.workspace, context.sets, model, partial, reporter),
            "seconds": {"select": picked - began, "train": trained - picked},
        }

    done = run_stage(context.workspace.store, Stage(run.name, "unit", folder, inputs), work)
    return done, _model(run.name, folder, done)


def forget_weights(context: BenchmarkContext, run: CycleRun) -> None:
    """Delete the weights of a unit that no other unit begins with."""
    (folder_of(context.workspace, run.name) / WEIGHTS).unlink(missing_ok=True)


def folder_of(workspace: Workspace, name: str) -> Path:
    """Where a unit keeps its files."""
    return workspace.root / "units" / name


def _chosen(
    context: BenchmarkContext,
    run: CycleRun,
    before: Model | None,
    labelled: Sequence[str],
    folder: Path,
    reporter: Reporter,
) -> list[str]:
    """Images picked in the unit; without a model yet they are drawn by lot, the same for every strategy."""
    kept = folder / "picks.json"
    if kept.is_file():
        found: list[str] = read_json(kept)
        return found
    known = set(labelled)
    left = [item for item in context.sets.pool if item.image.id not in known]
    if before is None:
        rng = np.random.default_rng(np.random.SeedSequence([run.seed, run.cycle]))
        order = rng.permutation(len(left))[: run.k]
        chosen = [left[i].image.id for i in order]
    else:
        chosen = _by_strategy(context, run, before, left, known, folder / "scores", reporter)
    write_json(kept, chosen)
    shutil.rmtree(folder / "scores", ignore_errors=True)
    return chosen


def _by_strategy(
    context: BenchmarkContext,
    run: CycleRun,
    model: Model,
    left: list[LabelledImage],
    known: set[str],
    folder: Path,
    reporter: Reporter,
) -> list[str]:
    """The strategy's own picks: no share of them is drawn by lot or goes to what the model does not see."""
    settings = msgspec.structs.replace(
        context.asked.settings.cycle,
        strategy=run.strategy,
        seed=run.seed,
        explore_fraction=0.0,
        random_audit_fraction=0.0,
    )
    labelled = [item for item in context.sets.pool if item.image.id in known]
    candidates = [*left, *(labelled if settings.candidates == "all" else [])]

    def kept(augmentation: str) -> Path:
        return folder / (augmentation or "pool")

    images = [item.image for item in candidates]
    score_for(context.workspace, model, run.strategy, images, labelled, kept, reporter)
    scored = ShardStore(kept("")).load([image.id for image in images])
    ids = scored.image_ids
    shown = known_of(labelled, len(context.workspace.config.classes), _counted(context, run, model))
    known_here = context_for(context.workspace, model, run.strategy, ids, shown, kept)
    picks = pick(scored, run.k, settings, run.cycle, known, known_here)
    return [p.image_id for p in picks if not p.known]


def _counted(context: BenchmarkContext, run: CycleRun, model: Model) -> float | None:
    """How well the model that picks counts, where that matters to the strategy."""
    if not STRATEGIES[run.strategy].uses_count_r2:
        return None
    own = model == context.starts[run.start].model
    return counting(context.sets, folder_of(context.workspace, f"{run.start}/start") if own else model.folder)


def _judging(context: BenchmarkContext) -> dict[str, Any]:
    return {"validation": context.asked.validation, "tests": context.asked.tests}


def _model(name: str, folder: Path, done: Output) -> Model:
    sha256 = done["weights_sha256"]
    return Model(name, None, "cycle", None, folder, sha256, "", config_sha256=done.get("config_sha256"))
