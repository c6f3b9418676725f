"""A cycle without a model: typical images are labelled, and the first model is trained on them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from msgspec import structs
from support.factories import write_coco_set
from support.small_loop import SmallLoop, small_loop

from al_loop.core.console import Silent
from al_loop.core.errors import ModelError, TrainingError
from al_loop.core.frozen_settings import thawed
from al_loop.doctor import examine
from al_loop.images import repository
from al_loop.images.pool_labels import add_labelled
from al_loop.images.validation_sets import add_validation
from al_loop.loop.cycle import run_cycle
from al_loop.loop.recovery import abandon, refreeze
from al_loop.loop.status import describe
from al_loop.loop.verify import reproduce, verify
from al_loop.models import model_training
from al_loop.models.gc import gc
from al_loop.monitor.stopping import curve
from al_loop.report import report_json, write_report
from al_loop.state import model_registry
from al_loop.state.database.cycle_table import read_cycle
from al_loop.state.database.pick_table import picks_of
from al_loop.state.workspace import Workspace


@pytest.fixture
def loop(workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SmallLoop:
    """A loop with 60 photographs, without a model and without a validation set."""
    loop = small_loop(workspace, tmp_path, monkeypatch, validation=False, model=False)
    cycle = structs.replace(workspace.config.cycle, k=10, validation_images=6)
    server = structs.replace(workspace.config.label_studio, url="http://127.0.0.1:1")
    config = structs.replace(workspace.config, cycle=cycle, label_studio=server)
    loop.workspace = workspace.with_settings(config)
    return loop


@pytest.mark.integration
def test_a_new_workspace_labels_trains_and_goes_on(loop: SmallLoop) -> None:
    workspace, tell = loop.workspace, Silent()
    assert describe(workspace)[-1] == "next        al-loop cycle"
    loop.answered = 0.0
    assert not run_cycle(workspace, None, tell).finished
    assert tell.lines[0] == "cycle 1: k = 10, no model yet, 60 unlabelled images"
    assert any(line.startswith("  push: 10 tasks →") for line in tell.lines)  # without boxes
    picks = picks_of(workspace.store, 1)
    assert all(pick.reason.startswith("typiclust: ") for pick in picks[6:])
    assert not any(pick.audit for pick in picks)
    page = write_report(workspace, workspace.root / "report.html").read_text()
    assert page.count('href="http://127.0.0.1:1/queue"') == 2  # of both queues
    assert describe(workspace)[5] == "model       none yet"
    assert "cycle       1 under way (k = 10, 6 for the validation set): score done" in describe(workspace)[7]
    assert [found.check for found in examine(workspace.root, Silent()).findings] == ["server.stopped"]

    loop.answered = 1.0
    assert run_cycle(workspace, None, tell).finished
    assert "  evaluate: AP 0.500, AP50 0.500 on 4 validation images" in tell.lines
    assert (loop.images, loop.starts) == ([10], [None])
    config = workspace.config
    assert loop.trained == [structs.replace(config.pretrain, augment=config.train.augment)]
    first = model_registry.current_model(workspace)
    assert (first.id, first.parent) == ("cycle-1", "initial-1")
    assert not [found.text for found in (*verify(workspace, 1), *reproduce(workspace, 1)) if found.changed]

    assert run_cycle(workspace, None, tell).finished
    assert loop.images == [10, 20]
    assert loop.starts[1] is not None
    assert loop.starts[1].id == "cycle-1"
    assert thawed(read_cycle(workspace.store, 2).settings).cycle.strategy == "dbal"  # type: ignore[union-attr]
    write_report(workspace, workspace.root / "report.html")
    report = json.loads(report_json(workspace))
    assert (report["start"]["model_id"], report["start"]["evaluation"]) == ("initial-1", None)
    assert [cycle["labels"] for cycle in report["cycles"]] == [20, 10]
    assert curve(workspace) == []  # nothing was really evaluated here
    gc(workspace, (), dry_run=False)
    with pytest.raises(ModelError, match="initial-1 is not trained"):
        model_registry.promote(workspace, model_registry.get_model(workspace, "initial-1"), "test")


def test_rendered_images_are_learnt_from_too(loop: SmallLoop) -> None:
    coco = write_coco_set(loop.workspace.synthetic / "one", 5, seed=5)
    coco.rename(coco.with_name("annotations.json"))
    loop.workspace.store.execute("INSERT INTO datasets VALUES ('one', 'r', 5, 'now')")
    assert run_cycle(loop.workspace, None, Silent()).finished
    assert loop.images == [15]
    assert loop.trained == [loop.workspace.config.pretrain]
    assert json.loads(report_json(loop.workspace))["cycles"][0]["labels"] == 10


def test_what_pretrain_can_do_is_not_done_by_a_cycle(loop: SmallLoop, tmp_path: Path) -> None:
    add_labelled(loop.workspace, write_coco_set(tmp_path / "mine", 3, seed=7))
    loop.answered = 0.0
    run_cycle(loop.workspace, None, Silent())  # no validation set: nothing could be trained
    abandon(loop.workspace, Silent())
    add_validation(loop.workspace, write_coco_set(tmp_path / "val", 2, seed=2))
    assert describe(loop.workspace)[-1] == "next        al-loop pretrain"
    with pytest.raises(ModelError, match=r"images to train it on\. Train it: al-loop pretrain"):
        run_cycle(loop.workspace, None, Silent())


def test_a_failed_training_goes_on_with_other_settings(
    loop: SmallLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise TrainingError("the loss became nan")

    with monkeypatch.context() as patched:
        patched.setattr(model_training, "train_model", fail)
        with pytest.raises(TrainingError, match="the loss became nan"):
            run_cycle(loop.workspace, None, Silent())
    assert describe(loop.workspace)[-1] == "next        al-loop cycle"
    config, tell = loop.workspace.config, Silent()
    pretrain = structs.replace(config.pretrain, lr=1e-4)
    workspace = loop.workspace.with_settings(structs.replace(config, pretrain=pretrain))
    refreeze(workspace, None, tell)
    assert tell.lines == ["  pretrain.lr: None → 0.0001", "cycle 1: 1 settings of al-loop.toml applied"]
    assert run_cycle(workspace, None, Silent()).finished
    assert loop.trained[-1].lr == 1e-4


def test_without_a_box_there_is_still_no_model(loop: SmallLoop, tmp_path: Path) -> None:
    add_validation(loop.workspace, write_coco_set(tmp_path / "val", 2, seed=2))
    pull = loop.pull

    def pull_empty(*values: object) -> object:
        result = pull(*values)  # type: ignore[arg-type]
        loop.workspace.store.execute("UPDATE labels SET boxes = '[]', status = 'empty' WHERE cycle = 1")
        return result

    tell = Silent()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("al_loop.labelling.sync.pull_labels", pull_empty)
        assert run_cycle(loop.workspace, None, tell).finished
    assert tell.lines[-1].endswith("nothing to learn from: no label has a box (current model: none)")
    assert run_cycle(loop.workspace, None, tell).finished
    assert model_registry.current_model(loop.workspace).id == "cycle-2"
    assert len(repository.labelled(loop.workspace)) == 20
