"""Mixes of photographs and rendered images: a grid of trainings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from al_loop.benchmark.run.cells import first_images, run_cells, shared_model
from al_loop.benchmark.run.context import BenchmarkContext
from al_loop.benchmark.run.evaluation import evaluate_model
from al_loop.benchmark.run.training import Training, delete_weights, train, trained_model
from al_loop.benchmark.run.trial import Row, Trial
from al_loop.benchmark.spec.spec import MixGrid
from al_loop.core.console import Reporter
from al_loop.state.model_registry import Model
from al_loop.state.stages import Output

#: Schedules of runs with one kind of images.
REAL, RENDERED = "real only", "rendered only"


@dataclass(frozen=True)
class Schedule:
    """In which order a training sees rendered images and photographs.

    after: photographs after the rendered images, not together with them.
    replay: as many rendered images again among the photographs.
    frozen: the photographs do not change the backbone.
    """

    after: bool = True
    replay: bool = False
    frozen: bool = False


SCHEDULES: Mapping[str, Schedule] = {
    "pretrain": Schedule(),
    "pretrain-frozen": Schedule(frozen=True),
    "joint": Schedule(after=False),
    "replay": Schedule(replay=True),
    "replay-frozen": Schedule(replay=True, frozen=True),
}


@dataclass(frozen=True)
class MixRun:
    """One cell of the grid. real, synthetic: numbers of images."""

    start: str
    schedule: str
    real: int
    synthetic: int
    seed: int

    @property
    def name(self) -> str:
        """Its folder below `runs/`."""
        schedule = self.schedule.replace(" ", "-")
        return f"{schedule}/real-{self.real}/rendered-{self.synthetic}/seed-{self.seed}"


@dataclass(frozen=True)
class MixStudy:
    """The kind of benchmark that mixes photographs with rendered images."""

    context: BenchmarkContext
    grid: MixGrid

    def trials(self) -> list[Trial[MixRun]]:
        """Return a trial for each seed and number of rendered images: its runs share one pretraining."""
        trials = [
            Trial(f"rendered-{synthetic}/seed-{seed}", tuple(self._runs(int(synthetic), seed)))
            for seed in range(self.context.spec.seeds)
            for synthetic in self.grid.synthetic
        ]
        return [trial for trial in trials if trial.runs]

    def _runs(self, synthetic: int, seed: int) -> Iterator[MixRun]:
        (start,) = self.context.initial_models
        for real in map(int, self.grid.real):
            schedules = self.grid.schedules if real and synthetic else (REAL,) if real else (RENDERED,)
            if real or synthetic:
                yield from (MixRun(start, schedule, real, synthetic, seed) for schedule in schedules)

    def initial_rows(self, reporter: Reporter) -> list[Row[MixRun]]:
        """Return nothing: the grid has no run without images."""
        return []

    def run(self, trial: Trial[MixRun], reporter: Reporter) -> Iterator[Row[MixRun]]:
        """Yield the result of each run; the runs after a failed one do not depend on it."""
        yield from run_cells(trial, lambda run: self._run_cell(run, reporter))
        delete_weights(self.context, _pretrained_name(trial.runs[0]))

    def _run_cell(self, run: MixRun, reporter: Reporter) -> Output:
        """Train and evaluate, unless that is done."""
        context, initial = self.context, self.context.initial_models[run.start]
        schedule = SCHEDULES.get(run.schedule, Schedule(after=False))
        photographs = first_images(context.datasets.pool, run.real, run.seed)
        rendered = first_images(context.rendered, run.synthetic, run.seed)
        first = context.spec.iterations // 2 if schedule.after else 0
        if schedule.after:
            rendered = rendered[: run.real] if schedule.replay else []

        def work(folder: Path) -> Output:
            before, spent_s = self._pretrained(run, first, reporter) if schedule.after else (None, 0.0)
            steps, model = context.spec.iterations - first, before or initial.model
            images = [*photographs, *rendered]
            changes = {"freeze": "encoder"} if schedule.frozen else {}
            training = Training(initial, model, images, steps, run.seed, changes=changes)
            output = train(context, training, folder, run.name, reporter)
            trained = trained_model(run.name, folder, output)
            return {
                "boxes": sum(len(item.boxes) for item in photographs),
                "metrics": evaluate_model(context, trained, folder, reporter),
                "seconds": {"train": spent_s + output["seconds"]["train"]},
            }

        output = context.run_stage(run.name, work, run=asdict(run), **self._identities())
        delete_weights(context, run.name)
        return output

    def _pretrained(self, run: MixRun, steps: int, reporter: Reporter) -> tuple[Model, float]:
        """Return the model trained on the rendered images alone, and the seconds this took."""
        context, initial = self.context, self.context.initial_models[run.start]
        rendered = first_images(context.rendered, run.synthetic, run.seed)
        training = Training(initial, initial.model, rendered, steps, run.seed)
        name = _pretrained_name(run)

        def work(folder: Path) -> Output:
            return train(context, training, folder, name, reporter)

        inputs = {"synthetic": run.synthetic, "seed": run.seed, **self._identities()}
        return shared_model(context, name, work, **inputs)

    def _identities(self) -> dict[str, object]:
        return {key: self.context.record[key] for key in ("rendered", "starts")}


def _pretrained_name(run: MixRun) -> str:
    return f"pretrained/rendered-{run.synthetic}/seed-{run.seed}"
