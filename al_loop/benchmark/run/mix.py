"""Mixes of photographs and rendered images: a grid of trainings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from al_loop.benchmark.run.cells import first_images, run_cells, shared_model
from al_loop.benchmark.run.context import BenchmarkContext
from al_loop.benchmark.run.evaluation import evaluate_model
from al_loop.benchmark.run.image_counts import divided
from al_loop.benchmark.run.training import Training, delete_weights, train, trained_model
from al_loop.benchmark.run.trial import Row, Trial
from al_loop.benchmark.spec.spec import MixGrid
from al_loop.core.console import Reporter
from al_loop.state.model_registry import Model
from al_loop.state.stages import Output
from al_loop.structures.images import LabelledImage

#: Schedules of runs with one kind of images.
REAL, RENDERED = "real only", "rendered only"


@dataclass(frozen=True)
class Schedule:
    """In which order a training sees rendered images and photographs.

    after: photographs after the rendered images, not together with them.
    replay: as many rendered images again among the photographs.
    frozen: the photographs do not change the backbone.
    falling: together with them, and the share of rendered images falls from all to none.
    """

    after: bool = True
    replay: bool = False
    frozen: bool = False
    falling: bool = False

    def suits(self, real: int, synthetic: int) -> bool:
        """Whether no part of the training lacks objects. real, synthetic: numbers of images with objects."""
        photographs_last = (self.after and not self.replay) or self.falling
        return bool((synthetic or not self.after) and (real or not photographs_last))


SCHEDULES: Mapping[str, Schedule] = {
    "pretrain": Schedule(),
    "pretrain-frozen": Schedule(frozen=True),
    "joint": Schedule(after=False),
    "curriculum": Schedule(after=False, falling=True),
    "replay": Schedule(replay=True),
    "replay-frozen": Schedule(replay=True, frozen=True),
}


@dataclass(frozen=True)
class MixRun:
    """One cell of the grid.

    real, synthetic: numbers of images.
    healthy, healthy_synthetic: numbers of images without boxes, in addition. None: not drawn apart.
    """

    start: str
    schedule: str
    real: int
    synthetic: int
    seed: int
    healthy: int | None = None
    healthy_synthetic: int | None = None

    @property
    def name(self) -> str:
        """Its folder below `runs/`."""
        schedule, real = self.schedule.replace(" ", "-"), _part("real", self.real, self.healthy)
        return f"{schedule}/{real}/{self.rendered_name}"

    @property
    def rendered_name(self) -> str:
        """What names its rendered images and its seed."""
        return f"{_part('rendered', self.synthetic, self.healthy_synthetic)}/seed-{self.seed}"

    @property
    def photographs(self) -> int:
        """Number of photographs, with and without boxes."""
        return self.real + (self.healthy or 0)

    @property
    def rendered(self) -> int:
        """Number of rendered images, with and without boxes."""
        return self.synthetic + (self.healthy_synthetic or 0)


@dataclass(frozen=True)
class MixStudy:
    """The kind of benchmark that mixes photographs with rendered images."""

    context: BenchmarkContext
    grid: MixGrid

    def trials(self) -> list[Trial[MixRun]]:
        """Return a trial for each seed and number of rendered images: its runs share one pretraining."""
        (start,) = self.context.initial_models
        trials = [
            self._trial(MixRun(start, "", 0, int(synthetic), seed, healthy_synthetic=healthy))
            for seed in range(self.context.spec.seeds)
            for synthetic in self.grid.synthetic
            for healthy in _axis(self.grid.healthy_synthetic)
        ]
        return [trial for trial in trials if trial.runs]

    def _trial(self, shared: MixRun) -> Trial[MixRun]:
        """Return a trial. shared: what its runs have in common."""
        total = self.grid.total
        reals = map(int, self.grid.real) if total is None else [total - shared.synthetic]
        cells = [
            replace(shared, real=real, healthy=healthy)
            for real in reals
            for healthy in _axis(self.grid.healthy)
        ]
        runs = [replace(cell, schedule=name) for cell in cells for name in self._schedules(cell)]
        return Trial(shared.rendered_name, tuple(runs))

    def _schedules(self, cell: MixRun) -> tuple[str, ...]:
        """Return the schedules of a cell; none if it has no image with objects."""
        if not cell.real and not cell.synthetic:
            return ()
        if not cell.rendered or not cell.photographs:
            return (REAL,) if cell.photographs else (RENDERED,)
        return tuple(name for name in self.grid.schedules if SCHEDULES[name].suits(cell.real, cell.synthetic))

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
        photographs = _drawn(context.datasets.pool, run.real, run.healthy, run.seed)
        rendered = _drawn(context.rendered, run.synthetic, run.healthy_synthetic, run.seed)
        first = context.spec.iterations // 2 if schedule.after else 0
        if schedule.after:
            rendered = rendered[: run.photographs] if schedule.replay else []
        falling: dict[str, Any] = {}
        if schedule.falling:
            falling = {"rendered": rendered, "rendered_share": (1.0, 0.0)}

        def work(folder: Path) -> Output:
            before, spent_s = self._pretrained(run, first, reporter) if schedule.after else (None, 0.0)
            steps, model = context.spec.iterations - first, before or initial.model
            images = photographs if schedule.falling else [*photographs, *rendered]
            changes = {"freeze": "encoder"} if schedule.frozen else {}
            training = Training(initial, model, images, steps, run.seed, changes=changes, **falling)
            output = train(context, training, folder, run.name, reporter)
            trained = trained_model(run.name, folder, output)
            return {
                "boxes": sum(len(item.boxes) for item in photographs),
                "metrics": evaluate_model(context, trained, folder, reporter),
                "seconds": {"train": spent_s + output["seconds"]["train"]},
            }

        output = context.run_stage(run.name, work, run=_record(run), **self._identities())
        delete_weights(context, run.name)
        return output

    def _pretrained(self, run: MixRun, steps: int, reporter: Reporter) -> tuple[Model, float]:
        """Return the model trained on the rendered images alone, and the seconds this took."""
        context, initial = self.context, self.context.initial_models[run.start]
        rendered = _drawn(context.rendered, run.synthetic, run.healthy_synthetic, run.seed)
        training = Training(initial, initial.model, rendered, steps, run.seed)
        name = _pretrained_name(run)

        def work(folder: Path) -> Output:
            return train(context, training, folder, name, reporter)

        shared = ("synthetic", "seed", "healthy_synthetic")
        inputs = {key: value for key, value in _record(run).items() if key in shared}
        return shared_model(context, name, work, **inputs, **self._identities())

    def _identities(self) -> dict[str, object]:
        return {key: self.context.record[key] for key in ("rendered", "starts")}


def _pretrained_name(run: MixRun) -> str:
    return f"pretrained/{run.rendered_name}"


def _part(kind: str, count: int, healthy: int | None) -> str:
    return f"{kind}-{count}" + ("" if healthy is None else f"-healthy-{healthy}")


def _record(run: MixRun) -> dict[str, object]:
    """Return a run as plain data, without the axes that the grid does not have."""
    return {key: value for key, value in asdict(run).items() if value is not None}


def _axis(numbers: Sequence[str]) -> list[int | None]:
    """Return the numbers of an axis; None alone if the grid does not have it."""
    return [*map(int, numbers)] or [None]


def _drawn(
    images: Sequence[LabelledImage], count: int, healthy: int | None, seed: int
) -> list[LabelledImage]:
    """Return images with objects and healthy ones, mixed; healthy: None to draw from all together."""
    if healthy is None:
        return first_images(images, count, seed)
    others, empty = divided(images, apart=True)
    drawn = [*first_images(others, count, seed), *first_images(empty, healthy, seed)]
    return first_images(drawn, len(drawn), seed)
