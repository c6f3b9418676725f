"""The first model learns from the labels that the pool has already; the training itself is simulated."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from msgspec import structs
from support.factories import edited, write_coco_set
from support.small_loop import SmallLoop, small_loop

from al_loop.core.console import Silent
from al_loop.core.errors import DataError
from al_loop.images.pool_labels import add_labelled
from al_loop.images.training_sets import pretraining_set
from al_loop.models.pretrain import pretrain
from al_loop.report import report_json
from al_loop.state import model_registry
from al_loop.state.workspace import Workspace


@pytest.fixture
def loop(workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SmallLoop:
    return small_loop(workspace, tmp_path, monkeypatch, images=12)


def render(workspace: Workspace, count: int) -> None:
    """Add a rendered set."""
    coco = write_coco_set(workspace.synthetic / "one", count, seed=5)
    coco.rename(coco.with_name("annotations.json"))
    workspace.store.execute("INSERT INTO datasets VALUES ('one', 'r', ?, 'now')", count)


def test_rendered_images_and_labels_of_the_pool(loop: SmallLoop, tmp_path: Path) -> None:
    mine, tell = write_coco_set(tmp_path / "mine", 7, seed=7), Silent()
    with pytest.raises(DataError, match=r"al-loop render RECIPE.*al-loop pool add-labelled COCO\.json"):
        pretrain(loop.workspace, tell)
    add_labelled(loop.workspace, mine)
    pretrain(loop.workspace, tell)
    render(loop.workspace, 5)
    pretrain(loop.workspace, tell)
    assert loop.images == [7, 12]
    assert "images to pretrain on: 7 images, 14 boxes, 0 images empty" in tell.lines
    assert "images to pretrain on: 12 images, 24 boxes, 0 images empty" in tell.lines
    # The same image in a file and in the pool counts once, with the label of the pool.
    more = edited(mine, "more.json", lambda data: data["annotations"].pop())
    found = pretraining_set(loop.workspace, [more], tell)
    assert (len(found.own), len(found.others)) == (7, 0)
    pretrain(loop.workspace, tell, [more])
    assert any("al-loop pool add-labelled" in line for line in tell.lines)


def test_photographs_of_files_are_learnt_with_rendered_images_beside_them(
    loop: SmallLoop, tmp_path: Path
) -> None:
    render(loop.workspace, 5)
    config, photographs = loop.workspace.config, write_coco_set(tmp_path / "mine", 7, seed=7)
    here = loop.workspace.with_settings(
        structs.replace(config, pretrain=structs.replace(config.pretrain, replay=0.5))
    )
    pretrain(here, Silent(), [photographs])
    assert (loop.images, loop.rendered) == ([7], [5])
    pretrain(here, Silent(), [loop.workspace.synthetic / "one" / "annotations.json"])
    pretrain(here, Silent())
    assert (loop.images[1:], loop.rendered[1:]) == ([5], [0])  # the last has the same images


def test_the_learning_curve_begins_at_the_labels_of_the_first_model(loop: SmallLoop, tmp_path: Path) -> None:
    add_labelled(loop.workspace, write_coco_set(tmp_path / "mine", 7, seed=7))
    model_registry.promote(loop.workspace, pretrain(loop.workspace, Silent()), "test")
    start = json.loads(report_json(loop.workspace))["start"]
    assert (start["model_id"], start["labels"], start["boxes"]) == ("pretrain-1", 7, 14)
    loop.run()
    [cycle] = json.loads(report_json(loop.workspace))["cycles"]
    assert cycle["labels"] == 17
    assert json.loads(report_json(loop.workspace))["start"]["labels"] == 7


def test_a_class_without_a_label_is_named_and_the_training_goes_on(loop: SmallLoop) -> None:
    tell = Silent()
    loop.run()  # every label is one bolt
    loop.workspace.store.execute("UPDATE labels SET updated_at = 'later'")
    pretrain(loop.workspace, tell)
    assert "warning: no box of nut: the model cannot learn to find them" in tell.lines
