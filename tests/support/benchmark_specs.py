"""Small benchmarks, and stand-ins for their trainings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from support.factories import CLASSES, write_coco_set
from support.fake_model import score

from al_loop.benchmark.run.runner import Execution, Outcome, run_benchmark
from al_loop.benchmark.spec.spec import BenchmarkSpec, MixGrid, StrategyGrid, TransferGrid
from al_loop.core.config import Config
from al_loop.core.console import Silent
from al_loop.core.errors import TrainingError
from al_loop.core.files import file_sha256
from al_loop.core.training_config import TrainConfig
from al_loop.evaluation.detection_counts import Counts
from al_loop.models import model_training, scoring
from al_loop.models.model_training import TrainingImages
from al_loop.state.workspace import Workspace

CONFIG = msgspec.convert(
    {
        "classes": CLASSES,
        "model": {"config": "small", "image_size": [96, 64]},
        "train": {"batch_size": 2, "workers": 0},
        "pretrain": {"batch_size": 2, "workers": 0},
        "score": {"workers": 0},
        "device": "cpu",
    },
    Config,
)


def strategy_spec(folder: Path) -> BenchmarkSpec:
    """Twelve images to pick from in two cycles, by random and dbal, and seven to evaluate on."""
    grid = StrategyGrid(strategies=("random", "dbal"), k=3, cycles=2)
    return _spec(folder, 12, grid, iterations=4)


def mix_spec(folder: Path) -> BenchmarkSpec:
    """No photographs or four, no rendered images or six, in two schedules."""
    rendered = write_coco_set(folder / "rendered", 6, seed=3)
    grid = MixGrid(
        rendered=(rendered,), schedules=("pretrain", "joint"), real=("0", "50%"), synthetic=("0", "6")
    )
    return _spec(folder, 8, grid, iterations=4)


def transfer_spec(folder: Path) -> BenchmarkSpec:
    """Four photographs and six rendered images."""
    rendered = write_coco_set(folder / "rendered", 6, seed=3)
    return _spec(folder, 8, TransferGrid(rendered=(rendered,), real=("50%",)), iterations=3)


def _spec(
    folder: Path, pool: int, grid: StrategyGrid | MixGrid | TransferGrid, iterations: int
) -> BenchmarkSpec:
    return BenchmarkSpec(
        pool=write_coco_set(folder / "pool", pool, seed=1),
        validation=write_coco_set(folder / "val", 4, seed=2),
        tests={"other": write_coco_set(folder / "other", 3, seed=4)},
        starts={"scratch": "scratch"},
        seeds=1,
        iterations=iterations,
        grid=grid,
    )


def metrics_of(ap: float) -> dict[str, Any]:
    """Return the metrics of one set; all but AP are 0."""
    names = ("ap50", "ap75", "precision", "recall", *Counts.__dataclass_fields__)
    return {"ap": ap, "per_class": dict.fromkeys(CLASSES), **dict.fromkeys(names, 0.0)}


def change(spec: BenchmarkSpec, **changes: Any) -> BenchmarkSpec:
    """Replace fields of a spec, or of its grid."""
    own = {name: value for name, value in changes.items() if name in spec.__dataclass_fields__}
    grid = replace(spec.grid, **{name: value for name, value in changes.items() if name not in own})
    return replace(spec, grid=grid, **own)


def run(
    out: Path, spec: BenchmarkSpec, home: Workspace, config: Config = CONFIG, **execution: Any
) -> tuple[Outcome, Silent]:
    """Run a benchmark; return its outcome and what it reported."""
    reporter = Silent()
    return run_benchmark(out, spec, config, home, reporter, Execution(**execution)), reporter


@dataclass(frozen=True)
class Trained:
    """name: of the run.  rendered: images from the folder of rendered ones.  empty: images without boxes.

    beside: rendered images beside the others.  share: of these, in the first and the last step.
    """

    name: str
    images: int
    rendered: int
    began_with: str | None
    frozen: bool
    empty: int = 0
    beside: int = 0
    share: tuple[float, float] | None = None


@dataclass
class FakeTrainings:
    """Trainings that only write weights, and scores that are made up. fail: raises for the name of a run."""

    trained: list[Trained] = field(default_factory=list)
    fail: Callable[[str], BaseException | None] = lambda name: None

    def train(
        self,
        workspace: Workspace,
        folder: Path,
        start: Any,
        images: TrainingImages,
        settings: TrainConfig,
        *_: object,
    ) -> dict[str, Any]:
        name = folder.as_posix().partition("/runs/")[2].removesuffix(".partial")
        if error := self.fail(name):
            raise error
        rendered = sum(item.image.path.parts[-3] == "rendered" for item in images.training)
        training, frozen = images.training, settings.freeze == "encoder"
        empty = sum(not len(item.boxes) for item in training)
        more = (empty, len(images.rendered), images.rendered_share)
        self.trained.append(Trained(name, len(training), rendered, start and start.id, frozen, *more))
        (folder / "weights.pth").write_text(f"{name} {len(images.training)}")
        return {
            "weights_sha256": file_sha256(folder / "weights.pth"),
            "precision": "fp32",
            "class_quality": [0.5, 0.5],
            "validations": [0.25, 0.5],
        }

    def names(self) -> list[str]:
        """Return the runs that were trained since the last call."""
        names = [training.name for training in self.trained]
        self.trained.clear()
        return names


def failing(part: str) -> Callable[[str], TrainingError | None]:
    """Let the trainings fail whose run has this in its name."""
    return lambda name: TrainingError("the loss is nan") if part in name else None


def fake_trainings(monkeypatch: pytest.MonkeyPatch) -> FakeTrainings:
    """Stand in for all trainings and scores."""
    fake = FakeTrainings()
    monkeypatch.setattr(model_training, "train_model", fake.train)
    monkeypatch.setattr(scoring, "score", score)
    return fake
