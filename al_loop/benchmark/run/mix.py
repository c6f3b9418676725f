"""How many rendered images beside how many photographs, and in which way: a grid of trainings."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from al_loop.benchmark.run.cycle_run import folder_of
from al_loop.benchmark.run.evaluation import RECIPE, fixed_steps, judged
from al_loop.benchmark.run.progress import OverallProgress
from al_loop.benchmark.spec.datasets import Sets, check_names, read_sets
from al_loop.benchmark.spec.initial_models import Start, start_of
from al_loop.benchmark.spec.spec import MixAsked, read_settings, remember
from al_loop.core.config import Config, TrainConfig
from al_loop.core.console import Reporter
from al_loop.core.errors import ConfigError, TrainingError
from al_loop.images.repository import labels_hash
from al_loop.images.training_sets import labelled_files, synthetic_images
from al_loop.models import service
from al_loop.models.trust import require
from al_loop.state.database.store import Store
from al_loop.state.model_registry import WEIGHTS, Model
from al_loop.state.stages import Output, Stage, run_stage
from al_loop.state.workspace import Workspace
from al_loop.structures.images import LabelledImage

#: Names of cells with one kind of images only.
REAL, RENDERED = "real only", "rendered only"


@dataclass(frozen=True)
class Way:
    """How rendered images and photographs come together. after: photographs after the rendered images, not with them.

    replay: some rendered images again among the photographs, as many as these.  frozen: the backbone stays as the
    rendered images left it.
    """

    after: bool = True
    replay: bool = False
    frozen: bool = False


WAYS: Mapping[str, Way] = MappingProxyType(
    {
        "pretrain": Way(),
        "pretrain-frozen": Way(frozen=True),
        "joint": Way(after=False),
        "replay": Way(replay=True),
        "replay-frozen": Way(replay=True, frozen=True),
    }
)


@dataclass(frozen=True)
class MixQuestion:
    """What `al-loop benchmark --mix` was asked, as typed.

    rendered: COCO files, none for all rendered sets of the workspace.  start: "scratch", "coco" or a model.
    real, synthetic: numbers of images, or shares of all as in "25%".
    """

    data: Path
    validation: Path
    tests: Mapping[str, Path]
    rendered: tuple[Path, ...]
    starts: Mapping[str, str]
    ways: tuple[str, ...]
    real: tuple[str, ...]
    synthetic: tuple[str, ...]
    seeds: int
    iterations: int


@dataclass(frozen=True)
class Cell:
    """One training and what came of it. judged: set -> metrics and counts; seconds: of all its trainings."""

    way: str
    real: int
    synthetic: int
    seed: int
    judged: Mapping[str, Any] | None = None
    seconds: float | None = None
    hole: str = ""

    @property
    def name(self) -> str:
        """Where its files are."""
        return f"mix/{self.way.replace(' ', '-')}/real-{self.real}/rendered-{self.synthetic}/seed-{self.seed}"


@dataclass(frozen=True, eq=False)
class Mix:
    """A mix study that is done."""

    asked: MixAsked
    sets: Sets
    rendered: list[LabelledImage]
    cells: list[Cell]


def run_mix(
    out: Path, question: MixQuestion, config: Config, home: Workspace, reporter: Reporter, *, resume: bool
) -> Mix:
    """Train what is missing of the grid and return all of it.

    Raises ConfigError for a question that cannot be asked, DataError for sets that cannot be used.
    """
    check_mix(question)
    require(home)
    sets = read_sets(question.data, question.validation, question.tests, config.classes)
    for line in sets.lines:
        reporter.line(line)
    rendered = (
        labelled_files(home, question.rendered, reporter)
        if question.rendered
        else synthetic_images(home, reporter)
    )
    judged = {item.image.id for images in (sets.validation, *sets.tests.values()) for item in images}
    rendered = [item for item in rendered if item.image.id not in judged]
    ((_, named),) = question.starts.items()
    start = start_of(named, home, config)
    asked = MixAsked(
        pool=labels_hash(sets.pool),
        validation=labels_hash(sets.validation),
        tests={name: labels_hash(images) for name, images in sets.tests.items()},
        rendered=labels_hash(rendered),
        starts=dict.fromkeys(question.starts, start.identity),
        ways=question.ways,
        real=amounts("--real", question.real, len(sets.pool), reporter),
        synthetic=amounts("--synthetic", question.synthetic, len(rendered), reporter),
        seeds=question.seeds,
        iterations=question.iterations,
        settings=config,
    )
    remember(out, asked, resume=resume)
    workspace = Workspace(out, config, Store(":memory:"))
    with workspace.lock():
        study = _Study(workspace, asked, sets, rendered, start)
        return Mix(asked, sets, rendered, list(study.run(reporter)))


def check_mix(question: MixQuestion) -> None:
    """Refuse what no mix study can answer, before anything is read."""
    unknown = [way for way in question.ways if way not in WAYS]
    if unknown or not question.ways:
        raise ConfigError(f"--ways: expected some of {', '.join(WAYS)}, got {', '.join(unknown) or 'none'}")
    if len(question.starts) != 1:
        raise ConfigError(f"--mix: expected one --start, got {', '.join(question.starts) or 'none'}")
    check_names(question.tests, question.starts)
    for name in ("seeds", "iterations"):
        if getattr(question, name) < 1:
            raise ConfigError(f"--{name}: expected at least 1, got {getattr(question, name)}")
    shared = [way for way in question.ways if WAYS[way].after]
    if shared and question.iterations < 2:
        raise ConfigError(
            f"--iterations: expected at least 2, which {shared[0]} divides, got {question.iterations}"
        )


def amounts(option: str, asked: Sequence[str], total: int, reporter: Reporter) -> tuple[int, ...]:
    """Numbers of images, ascending and each once, from counts and shares; what there is not is clipped and said."""
    found = set()
    for text in asked:
        share = text.endswith("%")
        try:
            value = float(text.removesuffix("%"))
        except ValueError:
            value = -1.0
        if not (0 <= value < float("inf")) or (share and value > 100) or (not share and value != int(value)):
            raise ConfigError(
                f"{option} {text}: expected numbers of images, or shares of all, as in 0,25,100 or 0,25%,100%"
            )
        count = round(total * value / 100) if share else int(value)
        if count > total:
            reporter.line(f"{option} {text}: there are {total} images, all are taken")
        found.add(min(count, total))
    if not found - {0}:
        raise ConfigError(f"{option}: expected a number of images above 0, got {', '.join(asked) or 'none'}")
    return tuple(sorted(found))


@dataclass(frozen=True, eq=False)
class _Study:
    """Everything that the cells share."""

    workspace: Workspace
    asked: MixAsked
    sets: Sets
    rendered: list[LabelledImage]
    start: Start

    def run(self, reporter: Reporter) -> Iterator[Cell]:
        """Every cell; a training that fails leaves a hole, and the rest goes on."""
        cells = list(self._grid())
        whole = OverallProgress(reporter, len(cells))
        for cell in cells:
            reporter.line(f"{cell.name.removeprefix('mix/')} ({whole})")
            try:
                done = self._run(cell, whole)
            except TrainingError as error:
                reporter.line(f"  failed: {error}")
                yield replace(cell, hole=str(error))
            else:
                ap = done["judged"]["validation"]["ap"]
                reporter.line(f"  AP {ap:.3f}, {done['seconds']:.0f} s of training")
                yield replace(cell, judged=done["judged"], seconds=done["seconds"])
            whole.step()
        for seed in range(self.asked.seeds):
            for count in self.asked.synthetic:
                self._forget(self._pretrained_name(count, seed))

    def _grid(self) -> Iterator[Cell]:
        """Seed after seed, so that a study that is stopped has whole grids."""
        for seed in range(self.asked.seeds):
            for synthetic in self.asked.synthetic:
                for real in self.asked.real:
                    ways = self.asked.ways if real and synthetic else (REAL,) if real else (RENDERED,)
                    yield from (Cell(way, real, synthetic, seed) for way in ways if real or synthetic)

    def _run(self, cell: Cell, reporter: Reporter) -> Output:
        way = WAYS.get(cell.way, Way(after=False))
        photographs = _some(self.sets.pool, cell.real, cell.seed)
        renders = _some(self.rendered, cell.synthetic, cell.seed)
        first = self.asked.iterations // 2 if way.after else 0
        steps = self.asked.iterations - first
        if way.after:
            renders = renders[: cell.real] if way.replay else []
        inputs = {"cell": [cell.way, cell.real, cell.synthetic, cell.seed], **self._inputs(steps)}

        def work(folder: Path) -> Output:
            before, spent = (
                self._pretrained(cell.synthetic, cell.seed, first, reporter) if way.after else (None, 0.0)
            )
            done = self._train(folder, before, [*photographs, *renders], steps, cell, way.frozen, reporter)
            model = _model(cell.name, folder, done)
            found = judged(self.workspace, self.sets, model, folder, reporter)
            return {"judged": found, "seconds": spent + done["seconds"]}

        stage = Stage(cell.name, "unit", folder_of(self.workspace, cell.name), inputs)
        done = run_stage(self.workspace.store, stage, work)
        self._forget(cell.name)
        return done

    def _pretrained(self, synthetic: int, seed: int, steps: int, reporter: Reporter) -> tuple[Model, float]:
        """The model that has seen the rendered images, and the seconds its training took; one for all ways."""
        name = self._pretrained_name(synthetic, seed)
        renders = _some(self.rendered, synthetic, seed)
        cell = Cell(RENDERED, 0, synthetic, seed)

        def work(folder: Path) -> Output:
            return self._train(folder, None, renders, steps, cell, False, reporter)

        inputs = {"pretrain": [synthetic, seed], **self._inputs(steps)}
        stage = Stage(name, "unit", folder_of(self.workspace, name), inputs)
        if not (stage.folder / WEIGHTS).is_file():
            shutil.rmtree(stage.folder, ignore_errors=True)  # forgotten when a smaller grid was done
        done = run_stage(self.workspace.store, stage, work)
        return _model(name, stage.folder, done), done["seconds"]

    def _train(
        self,
        folder: Path,
        before: Model | None,
        images: list[LabelledImage],
        steps: int,
        cell: Cell,
        frozen: bool,
        reporter: Reporter,
    ) -> Output:
        start = before or self.start.model
        own: TrainConfig = self.asked.settings.pretrain if start is None else self.asked.settings.train
        settings = fixed_steps(own, steps, len(images), cell.seed)
        began = time.monotonic()
        with reporter.progress("train") as progress:
            done = service.train_model(
                self.start.training_in(self.workspace),
                folder,
                start,
                images,
                self.sets.validation,
                settings,
                progress,
                steps,
                frozen=frozen,
            )
        kept: Output = {
            name: done[name] for name in ("weights_sha256", "config_sha256", "precision") if name in done
        }
        return {**kept, "seconds": time.monotonic() - began}

    def _inputs(self, steps: int) -> dict[str, Any]:
        asked = self.asked
        return {
            "pool": asked.pool,
            "rendered": asked.rendered,
            "start": asked.starts,
            "recipe": RECIPE,
            "steps": steps,
            "settings": read_settings(asked),
            "validation": asked.validation,
            "tests": asked.tests,
        }

    def _forget(self, name: str) -> None:
        """Delete the weights of a unit that nothing begins with any more."""
        (folder_of(self.workspace, name) / WEIGHTS).unlink(missing_ok=True)

    @staticmethod
    def _pretrained_name(synthetic: int, seed: int) -> str:
        return f"mix/pretrained/rendered-{synthetic}/seed-{seed}"


def _some(images: Sequence[LabelledImage], count: int, seed: int) -> list[LabelledImage]:
    """The first `count` in an order that the seed alone decides: fewer are always among more."""
    order = np.random.default_rng(np.random.SeedSequence([seed, len(images)])).permutation(len(images))
    return [images[i] for i in order[:count]]


def _model(name: str, folder: Path, done: Output) -> Model:
    sha256 = done["weights_sha256"]
    return Model(name, None, "cycle", None, folder, sha256, "", config_sha256=done.get("config_sha256"))
