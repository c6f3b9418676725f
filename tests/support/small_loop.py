"""A loop whose parts are real but for the network and the labelling server, which are stood in for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs
from support.factories import draw, write_coco_set
from support.fake_model import score
from support.metrics import compared, metrics
from support.pool_images import add_images

from al_loop.core.console import Silent
from al_loop.core.errors import LabelStudioError
from al_loop.core.files import file_sha256
from al_loop.core.training_config import TrainConfig
from al_loop.images.validation_sets import add_validation
from al_loop.labelling import sync
from al_loop.labelling.client.task import PushResult
from al_loop.labelling.sync import PullResult, Shown
from al_loop.loop.cycle import run_cycle
from al_loop.models import evaluation, model_training, scoring
from al_loop.models.model_training import TrainingImages
from al_loop.state import model_registry
from al_loop.state.model_registry import Model
from al_loop.state.workspace import Workspace
from al_loop.structures.picks import Pick
from al_loop.structures.predictions import ScoredImages

BOLT = "[[1, 2, 9, 9, 0]]"


@dataclass
class SmallLoop:
    """A loop whose server and trainings are simulated.

    answered: share of the picks that are labelled with one bolt; None: the server does not answer.
    trained: settings of every training.
    starts: the model that every training begins with.
    images: number of images of every training.
    rendered: number of rendered images beside them.
    pushed: images of every push.
    blind: images of every push that are shown without the model's boxes.
    gold: images of every push that have known labels.
    least_scores: scores of every push from which the model's boxes are shown.
    noted: whether models have a recorded hash of their config, as those of this version do.
    compared: what the output of every training says of self-training.
    """

    workspace: Workspace
    answered: float | None = 1.0
    trained: list[TrainConfig] = field(default_factory=list)
    starts: list[Model | None] = field(default_factory=list)
    images: list[int] = field(default_factory=list)
    rendered: list[int] = field(default_factory=list)
    pushed: list[list[str]] = field(default_factory=list)
    least_scores: list[tuple[float, ...]] = field(default_factory=list)
    blind: list[list[str]] = field(default_factory=list)
    gold: list[list[str]] = field(default_factory=list)
    noted: bool = False
    compared: dict[str, object] = field(default_factory=dict)

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Stand in for the network and the labelling server."""
        patch.setattr(scoring, "score", score)
        patch.setattr(model_training, "train_model", self.train)
        patch.setattr(model_training, "write_initial", self.write_initial)
        if not self.noted:
            patch.setattr(evaluation, "evaluate_model", lambda *_: metrics(0.5, bolt=0.5, nut=None))
            patch.setattr(evaluation, "compare_models", lambda *_: compared(0.0, -0.1, 0.1))
        patch.setattr(sync, "push_picks", self.push)
        patch.setattr(sync, "pull_labels", self.pull)

    def push(
        self,
        workspace: Workspace,
        cycle: int,
        picks: Sequence[Pick],
        scored: ScoredImages,
        model_id: str,
        shown: Shown,
    ) -> tuple[int, PushResult]:
        self.least_scores.append(tuple(shown.least_scores))
        self.blind.append(list(shown.blind))
        self.gold.append(list(shown.gold))
        self.pushed.append([pick.image_id for pick in picks])
        return 1, PushResult(len(picks), 0, 1, "http://127.0.0.1:1/queue")

    def pull(self, workspace: Workspace, cycle: int, *_: object) -> PullResult:
        if self.answered is None:
            raise LabelStudioError("no answer. Start it: al-loop label-studio start")
        rows = workspace.store.rows("SELECT image_id FROM picks WHERE cycle = ? ORDER BY rank", cycle)
        done = round(len(rows) * self.answered)
        for number, row in enumerate(rows):
            state = "labelled" if number < done else "pending"
            workspace.store.execute(
                "UPDATE picks SET state = ? WHERE cycle = ? AND image_id = ?", state, cycle, row["image_id"]
            )
            if state == "labelled":
                workspace.store.execute(
                    "INSERT OR REPLACE INTO labels "
                    "(image_id, status, boxes, cycle, annotator, lead_time_s, updated_at) "
                    "VALUES (?, 'labelled', ?, ?, 'ann', 4.0, 'now')",
                    row["image_id"],
                    BOLT,
                    cycle,
                )
        counts = {"labelled": done, "pending": len(rows) - done}
        return PullResult({state: count for state, count in counts.items() if count})

    def train(
        self,
        workspace: Workspace,
        folder: Path,
        start: Model | None,
        images: TrainingImages,
        settings: TrainConfig,
        *_: object,
    ) -> dict[str, Any]:
        self.trained.append(settings)
        self.starts.append(start)
        self.images.append(len(images.training))
        self.rendered.append(len(images.rendered))
        (folder / "weights.pth").write_bytes(str(len(images.training)).encode())
        return {
            "config_sha256": write_config(folder, noted=self.noted),
            "weights_sha256": file_sha256(folder / "weights.pth"),
            "steps": 1,
            "images": len(images.training),
            "class_quality": [0.5, 0.5],
            **({"self_training": self.compared} if self.compared else {}),
        }

    def write_initial(self, workspace: Workspace, folder: Path, *_: object) -> dict[str, Any]:
        (folder / "weights.pth").write_bytes(b"initial")
        return {
            "config_sha256": write_config(folder, noted=self.noted),
            "weights_sha256": file_sha256(folder / "weights.pth"),
        }

    def run(self, strategy: str = "dbal", cycles: int = 1, **settings: object) -> Workspace:
        """Run cycles to their end."""
        config = structs.replace(
            self.workspace.config,
            cycle=structs.replace(self.workspace.config.cycle, k=10, strategy=strategy, **settings),
        )
        here = self.workspace.with_settings(config)
        for _ in range(cycles):
            assert run_cycle(here, None, Silent()).finished
        return here


def write_config(folder: Path, *, noted: bool) -> str | None:
    """Write what stands for a model's config; return its hash, where it is to be noted."""
    if not noted:
        (folder / "config.py").write_text("model = dict()\n")
        return None
    (folder / "config.json").write_text('{"classes": ["bolt", "nut"]}')
    return file_sha256(folder / "config.json")


def _add_model(workspace: Workspace, *, noted: bool) -> None:
    folder = workspace.model_dir("m0")
    folder.mkdir(parents=True)
    (folder / "weights.pth").write_bytes(b"m0")
    config, weights = write_config(folder, noted=noted), file_sha256(folder / "weights.pth")
    m0 = model_registry.register_model(workspace, "m0", "import", weights, None, None, config)
    model_registry.promote(workspace, m0, "x")


def small_loop(
    workspace: Workspace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    images: int = 60,
    judged: bool = False,
    validation: bool = True,
    model: bool = True,
) -> SmallLoop:
    """A workspace with photographs, a validation set and a first model.

    validation, model: whether there is a validation set, and a model.
    judged: compute real metrics and comparisons, of simulated predictions, for models with a recorded config.
    """
    (tmp_path / "in").mkdir()
    for number in range(images):
        draw(64, 64, [], seed=number).save(tmp_path / "in" / f"{number}.png")
    add_images(workspace, sorted((tmp_path / "in").iterdir()))
    if validation:
        add_validation(workspace, write_coco_set(tmp_path / "val", 2, seed=2))
    if model:
        _add_model(workspace, noted=judged)
    loop = SmallLoop(workspace, noted=judged)
    loop.install(monkeypatch)
    return loop
