"""Models with and without masks in workspaces for boxes and for masks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from msgspec import structs
from support.factories import CLASSES, write_checkpoint
from support.outlined_pictures import outlined_set

from al_loop.core.console import Silent
from al_loop.core.errors import ModelError
from al_loop.core.training_config import TrainConfig
from al_loop.detector.checkpoint import load_into, read_weights, write_weights
from al_loop.detector.class_order import reorder_classes
from al_loop.detector.config.mask_head import add_mask_head, has_mask_head
from al_loop.detector.config.model_config import build_model, load_model_config
from al_loop.detector.config.stored_config import read_config
from al_loop.detector.training.job import TrainingJob
from al_loop.detector.training.train import Trained
from al_loop.images.training_sets import outline_warning
from al_loop.loop.pool_scoring import score_pool
from al_loop.models import scoring
from al_loop.models.evaluation import predictions_dir
from al_loop.models.model_training import TrainingImages, train_model
from al_loop.models.pretrain import import_checkpoint
from al_loop.models.starting_point import model_inputs, named_config, start_weights
from al_loop.state.model_registry import Model, current_model
from al_loop.state.prediction_store import ShardStore
from al_loop.state.score_key import ScoreKey
from al_loop.state.workspace import Workspace
from al_loop.structures.images import LabelledImage

pytestmark = pytest.mark.integration
LOGITS = "roi_head.mask_head.conv_logits.weight"


def changed(workspace: Workspace, table: str = "", **values: Any) -> Workspace:
    """The workspace with other settings, of a table or of the top of the file."""
    if table:
        values = {table: structs.replace(getattr(workspace.config, table), **values)}
    return workspace.with_settings(structs.replace(workspace.config, **values))


@pytest.fixture
def outlined(small: Workspace) -> Workspace:
    """A workspace for masks."""
    return changed(small, task="segmentation")


@pytest.fixture
def masked(tmp_path: Path) -> Path:
    """A checkpoint with a mask head."""
    config = load_model_config("small", CLASSES, (96, 64))
    add_mask_head(config.model)
    write_weights(tmp_path / "masked.pth", build_model(config, 7).state_dict(), CLASSES)
    return tmp_path / "masked.pth"


def started(workspace: Workspace) -> tuple[Any, list[str]]:
    return start_weights(workspace, named_config(workspace), 0, lambda *_: None)


def test_what_a_workspace_for_boxes_depends_on_has_not_changed(small: Workspace, outlined: Workspace) -> None:
    assert "masks" not in model_inputs(small)
    assert model_inputs(outlined)["masks"] is True
    folders = [ScoreKey.of(workspace.config, "m").folder().name for workspace in (small, outlined)]
    assert folders == ["thr-0.05-auto", "thr-0.05-auto-masks"]
    model = Model("m", None, "import", None, "", "", folder=Path("m"))
    names = [predictions_dir(workspace.config, model).name for workspace in (small, outlined)]
    assert names == ["thr-0.05", "thr-0.05-masks"]


def test_the_shipped_configs_have_mask_heads_where_masks_are_wanted(
    small: Workspace, outlined: Workspace, tmp_path: Path
) -> None:
    assert not has_mask_head(named_config(small).model)
    config = named_config(outlined)
    assert has_mask_head(config.model)
    assert list(config.get("notes", ())) == []
    assert not has_mask_head(named_config(outlined, masks=False).model)
    base = load_model_config.__globals__["resource"]("configs/model/small.py")
    (tmp_path / "mine.py").write_text(f"_base_ = [{str(base)!r}]\n")
    mine = named_config(outlined, str(tmp_path / "mine.py"))
    assert mine.notes == ["the config has no mask head: 2 convolutions of 64 channels are added"]


def test_a_checkpoint_is_fitted_to_the_task(small: Workspace, outlined: Workspace, masked: Path) -> None:
    source = read_weights(masked)
    weights, notes = started(changed(outlined, "model", load_from=str(masked)))
    assert torch.equal(weights[LOGITS], source[LOGITS])
    assert notes == []
    weights, notes = started(changed(small, "model", load_from=str(masked)))
    assert LOGITS not in weights
    assert torch.equal(weights["backbone.conv1.weight"], source["backbone.conv1.weight"])
    assert notes == [
        f'the mask head of {masked} is left out: task = "segmentation" in al-loop.toml keeps masks'
    ]
    boxes = write_checkpoint(masked.with_name("boxes.pth"))
    weights, notes = started(changed(outlined, "model", load_from=str(boxes)))
    assert notes[-1] == f"{boxes} has no mask head: it starts from random weights"
    assert weights[LOGITS].std() > 0
    name = "roi_head.bbox_head.fc_cls.weight"
    assert torch.equal(weights[name], read_weights(boxes)[name])


def test_masks_of_other_classes_start_anew(outlined: Workspace, tmp_path: Path) -> None:
    config = load_model_config("small", ("x", "y", "z"), (96, 64))
    add_mask_head(config.model)
    config.model.roi_head.mask_head.class_agnostic = False
    torch.save(build_model(config, 7).state_dict(), tmp_path / "three.pth")
    source = read_weights(tmp_path / "three.pth")
    assert source[LOGITS].shape[0] == 3
    weights, _ = started(changed(outlined, "model", load_from=str(tmp_path / "three.pth")))
    assert weights[LOGITS].shape[0] == 1
    convolution = "roi_head.mask_head.convs.0.conv.weight"
    assert torch.equal(weights[convolution], source[convolution])


def test_masks_follow_the_order_of_the_classes() -> None:
    weights = {
        "roi_head.bbox_head.fc_cls.weight": torch.arange(4.0)[:, None],
        LOGITS: torch.arange(3.0)[:, None, None, None],
    }
    ordered, _ = reorder_classes(weights, ("a", "b", "c"), ("c", "a", "b"), "mine")
    assert ordered["roi_head.bbox_head.fc_cls.weight"][:, 0].tolist() == [2, 0, 1, 3]
    assert ordered[LOGITS][:, 0, 0, 0].tolist() == [2, 0, 1]
    one = {**weights, LOGITS: torch.ones(1, 1, 1, 1)}
    assert torch.equal(reorder_classes(one, ("a", "b", "c"), ("c", "a", "b"), "mine")[0][LOGITS], one[LOGITS])


@pytest.mark.train
def test_imported_models_predict_what_their_weights_have(
    small: Workspace, outlined: Workspace, masked: Path, tmp_path: Path
) -> None:
    """A checkpoint of boxes is imported into a workspace for masks as it is, without a random mask head."""
    model = import_checkpoint(outlined, str(masked), None, Silent())
    config = read_config(model.folder)
    assert has_mask_head(config.model)
    assert list(config.get("notes", ())) == []
    score_pool(outlined, None, Silent())
    folder = outlined.scores_dir(ScoreKey.of(outlined.config, current_model(outlined).id))
    scored = ShardStore(folder).load()
    assert scored.masks is not None
    assert len(scored.masks) == len(scored.labels) > 0
    boxes = import_checkpoint(outlined, str(write_checkpoint(tmp_path / "boxes.pth")), None, Silent())
    assert not has_mask_head(read_config(boxes.folder).model)
    assert scoring.load_detector(outlined, boxes).model.with_mask is False
    left_out = import_checkpoint(small, str(masked), None, Silent())
    assert not has_mask_head(read_config(left_out.folder).model)
    assert "is left out" in read_config(left_out.folder).notes[0]
    with pytest.raises(ModelError, match=r"predicts masks .* and this workspace is for boxes"):
        import_checkpoint(small, str(masked), str(model.folder / "config.json"), Silent())


def without_outlines(images: list[LabelledImage]) -> list[LabelledImage]:
    return [replace(item, boxes=replace(item.boxes, outlines=None)) for item in images]


def test_a_training_adds_and_leaves_out_the_mask_head(
    small: Workspace, outlined: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of boxes alone, then with outlines, with boxes alone again, and in a workspace for boxes."""

    def train(job: TrainingJob, _: object) -> Trained:
        """Return the weights that the training would begin with, in a model of its config."""
        model = build_model(job.config, 1)
        if job.start is not None:
            load_into(model, job.start, "the start")
        return Trained(model.state_dict(), 1, 0.5, [0.5], [0.5, 0.5])

    monkeypatch.setattr("al_loop.detector.training.train.train", train)
    drawn = outlined_set(tmp_path / "set", 2, 1)
    plain, model, found = without_outlines(drawn), None, []
    for number, (workspace, images) in enumerate(
        [(outlined, plain), (outlined, drawn), (outlined, plain), (small, drawn)]
    ):
        folder = tmp_path / f"model-{number}"
        (folder / "training").mkdir(parents=True)
        sets = TrainingImages(images, drawn[:1])
        output = train_model(workspace, folder, model, sets, TrainConfig(), lambda *_: None)
        hashes = output["weights_sha256"], output["config_sha256"]
        model = Model(folder.name, None, "cycle", None, hashes[0], "", config_sha256=hashes[1], folder=folder)
        masks = has_mask_head(read_config(folder, hashes[1]).model)
        assert masks == (LOGITS in read_weights(model.weights, hashes[0]))
        found.append((masks, list(output["notes"])))
    assert [masks for masks, _ in found] == [False, True, True, False]
    assert found[1][1] == ["model-0 has no mask head: it starts from random weights"]
    assert found[3][1][-1].startswith("the mask head of model-2 is left out")


def test_a_training_without_an_outline_says_what_was_expected(
    small: Workspace, outlined: Workspace, tmp_path: Path
) -> None:
    drawn = outlined_set(tmp_path, 2, 1)
    assert outline_warning(outlined, drawn) is None
    assert outline_warning(small, without_outlines(drawn)) is None
    warning = outline_warning(outlined, without_outlines(drawn)) or ""
    assert warning.startswith("warning: none of the 4 boxes has an outline: the model learns no masks.")
    assert 'labels.masks = "rle" in recipes (then: al-loop render RECIPE)' in warning


def test_mask_margin_needs_masks(
    filled: Workspace, run: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    """No cycle begins with it in a workspace for boxes."""
    path = filled.root / "al-loop.toml"
    path.write_text(path.read_text().replace('strategy = "dbal"', 'strategy = "mask-margin"'))
    assert 'strategy = "mask-margin"' in path.read_text()
    checkpoint = str(write_checkpoint(tmp_path / "boxes.pth"))
    import_checkpoint(changed(filled, "model", config="small"), checkpoint, None, Silent())
    for command in ("cycle", "score"):
        status, _, error = run("-w", filled.root, command)
        assert status == 1
        assert 'the strategy "mask-margin" reads masks, and task = "detection" has none' in error
        assert 'Set task = "segmentation" in al-loop.toml' in error
    assert not filled.store.rows("SELECT * FROM cycles")
