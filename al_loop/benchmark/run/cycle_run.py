"""Strategies side by side: trials of cycles that pick, label, train and evaluate."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path

import msgspec
import numpy as np

from al_loop.benchmark.run.context import BenchmarkContext
from al_loop.benchmark.run.evaluation import evaluate_model, validation_quality
from al_loop.benchmark.run.training import Training, delete_weights, train, trained_model
from al_loop.benchmark.run.trial import Row, Trial
from al_loop.benchmark.spec.spec import StrategyGrid
from al_loop.core.console import Reporter
from al_loop.core.errors import TrainingError
from al_loop.core.files import json_hash, read_json, write_json
from al_loop.evaluation.model_quality import ModelQuality
from al_loop.loop.pool_scoring import StrategyScores, context_for, score_candidates, summarise_labels
from al_loop.loop.selection import pick
from al_loop.state.model_registry import Model
from al_loop.state.prediction_store import ShardStore
from al_loop.state.stages import Output
from strategies import STRATEGIES

#: In place of a strategy where the first images are picked at random.
AT_RANDOM = "at-random"
#: Validations of a training that may stop early.
_VALIDATIONS = 8


@dataclass(frozen=True)
class CycleRun:
    """One cycle of a trial.

    cycle: from 1; 0 for the evaluation of the initial model.
    k: number of images to pick.
    batch: size of the only cycle of a trial; 0 in a trial of several.
    """

    start: str
    strategy: str
    seed: int
    cycle: int
    k: int
    batch: int = 0

    @property
    def name(self) -> str:
        """Its folder below `runs/`."""
        size = f"batch-{self.batch}" if self.batch else f"cycle-{self.cycle}"
        return f"{self.start}/{self.strategy}/seed-{self.seed}/{size}"


@dataclass(frozen=True)
class StrategyStudy:
    """The kind of benchmark that compares strategies."""

    context: BenchmarkContext
    grid: StrategyGrid

    def trials(self) -> list[Trial[CycleRun]]:
        """Return a trial for each initial model, strategy, seed and batch."""
        grid, trials = self.grid, list[Trial[CycleRun]]()
        seeds, cycles = range(self.context.spec.seeds), range(1, grid.cycles + 1)
        for start, strategy, seed in product(self.context.initial_models, grid.strategies, seeds):
            for batch in grid.batches:
                run = CycleRun(start, strategy, seed, 1, batch, batch)
                trials.append(self._trial(run.name, run))
            if not grid.batches:
                runs = (CycleRun(start, strategy, seed, cycle, grid.k) for cycle in cycles)
                trials.append(self._trial(f"{start}/{strategy}/seed-{seed}", *runs))
        return trials

    def _trial(self, name: str, *runs: CycleRun) -> Trial[CycleRun]:
        """Return a trial. Without a model, one training on random images serves all strategies."""
        has_model = self.context.initial_models[runs[0].start].model is not None
        return Trial(name, runs, () if has_model else (replace(runs[0], strategy=AT_RANDOM),))

    def initial_rows(self, reporter: Reporter) -> list[Row[CycleRun]]:
        """Return the metrics of the initial models, for each strategy and seed."""
        rows, seeds = [], range(self.context.spec.seeds)
        for start, initial in self.context.initial_models.items():
            if initial.model is not None:
                metrics = self._evaluate_initial(start, initial.model, reporter)["metrics"]
                runs = (CycleRun(start, s, seed, 0, 0) for s, seed in product(self.grid.strategies, seeds))
                rows += [Row(run, metrics=metrics) for run in runs]
        return rows

    def _evaluate_initial(self, start: str, model: Model, reporter: Reporter) -> Output:
        def work(folder: Path) -> Output:
            return {"metrics": evaluate_model(self.context, model, folder, reporter)}

        return self.context.run_stage(_initial_name(start), work, weights=model.weights_sha256)

    def run(self, trial: Trial[CycleRun], reporter: Reporter) -> Iterator[Row[CycleRun]]:
        """Yield the result of each cycle; a training that fails ends the trial."""
        model = self.context.initial_models[trial.runs[0].start].model
        labelled, previous = list[str](), None
        for run, work in zip(trial.runs, (*trial.shared, *trial.runs[len(trial.shared) :]), strict=True):
            at_random = work.strategy == AT_RANDOM
            try:
                output, model = self._run_cycle(work, model, labelled, reporter)
            except TrainingError as error:
                yield Row(run, at_random=at_random, failure=str(error))
                return
            if previous is not None and previous.strategy != AT_RANDOM:
                delete_weights(self.context, previous.name)
            previous, labelled = work, labelled + output["picked"]
            results = {name: output[name] for name in ("labels", "boxes", "metrics", "seconds")}
            yield Row(run, picked=tuple(output["picked"]), at_random=at_random, **results)
        if trial.runs[-1].batch:
            delete_weights(self.context, trial.runs[-1].name)

    def _run_cycle(
        self, run: CycleRun, before: Model | None, labelled: Sequence[str], reporter: Reporter
    ) -> tuple[Output, Model]:
        """Pick, label, train and evaluate, unless that is done.

        before: the model that scores the pool.
        labelled: ids of the images labelled so far.
        """
        context, grid = self.context, self.grid

        def work(folder: Path) -> Output:
            began = time.monotonic()
            picked = self._picked(run, before, labelled, folder, reporter)
            select_s = time.monotonic() - began
            known = {*labelled, *picked}
            images = [item for item in context.datasets.pool if item.image.id in known]
            initial = context.initial_models[run.start]
            begin_with = initial.model if grid.from_initial or before is None else before
            validations = _VALIDATIONS if grid.early_stop else 1
            steps, rendered = context.spec.iterations, context.rendered
            training = Training(
                initial,
                begin_with,
                images,
                steps,
                run.seed,
                validations,
                rendered=rendered,
                changes={} if begin_with else {"augment": context.workspace.config.train.augment},
                unlabelled=[item.image for item in context.datasets.pool if item.image.id not in known],
            )
            output = train(context, training, folder, run.name, reporter)
            model = trained_model(run.name, folder, output)
            return {
                **output,
                "picked": picked,
                "labels": len(images),
                "boxes": sum(len(item.boxes) for item in images),
                "metrics": evaluate_model(context, model, folder, reporter),
                "seconds": {"select": select_s, **output["seconds"]},
            }

        output = context.run_stage(
            run.name,
            work,
            run=asdict(run),
            before=before.weights_sha256 if before else "",
            initial=context.initial_models[run.start].identity,
            labelled=json_hash(sorted(labelled)),
            early_stop=grid.early_stop,
            from_initial=grid.from_initial,
            **{key: context.record[key] for key in ("rendered",) if key in context.record},
        )
        return output, trained_model(run.name, context.folder_of(run.name), output)

    def _picked(
        self, run: CycleRun, before: Model | None, labelled: Sequence[str], folder: Path, reporter: Reporter
    ) -> list[str]:
        """Return the ids of the images to label; a killed run has left them in the folder."""
        path, known = folder / "picks.json", set(labelled)
        if path.is_file():
            picked: list[str] = read_json(path)
            return picked
        if before is None:
            left = [item.image.id for item in self.context.datasets.pool if item.image.id not in known]
            rng = np.random.default_rng(np.random.SeedSequence([run.seed, run.cycle]))
            picked = [left[i] for i in rng.permutation(len(left))[: run.k]]
        else:
            picked = self._picked_by_strategy(run, before, known, folder / "scores", reporter)
        write_json(path, picked)
        shutil.rmtree(folder / "scores", ignore_errors=True)
        return picked

    def _picked_by_strategy(
        self, run: CycleRun, model: Model, known: set[str], folder: Path, reporter: Reporter
    ) -> list[str]:
        """Return the strategy's picks, without the quotas of a cycle of the loop."""
        context = self.context
        settings = msgspec.structs.replace(
            context.workspace.config.cycle,
            strategy=run.strategy,
            seed=run.seed,
            explore_fraction=0.0,
            random_audit_fraction=0.0,
        )
        labelled = [item for item in context.datasets.pool if item.image.id in known]
        left = [item for item in context.datasets.pool if item.image.id not in known]
        images = [item.image for item in (*left, *(labelled if settings.candidates == "all" else []))]

        scores = StrategyScores(model, run.strategy, lambda augmentation: folder / (augmentation or "pool"))
        score_candidates(context.workspace, scores, [images], labelled, reporter)
        scored = ShardStore(scores.folder("")).load([image.id for image in images])
        shown = summarise_labels(labelled, len(context.workspace.config.classes), self._quality(run, model))
        selection = context_for(context.workspace, scores, scored.image_ids, shown)
        picks = pick(scored, run.k, settings, run.cycle, known, selection)
        return [p.image_id for p in picks if not p.known]

    def _quality(self, run: CycleRun, model: Model) -> ModelQuality:
        """Return what the strategy reads of the quality of the model that picks."""
        is_initial = model == self.context.initial_models[run.start].model
        folder = self.context.folder_of(_initial_name(run.start)) if is_initial else model.folder
        return validation_quality(self.context, STRATEGIES[run.strategy], folder)


def _initial_name(start: str) -> str:
    return f"{start}/initial"
