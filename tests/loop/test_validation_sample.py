"""Without a validation set, the first cycle has random images labelled for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from msgspec import structs
from support.pool_images import add_images
from support.small_loop import SmallLoop, small_loop

from al_loop.core.console import Silent
from al_loop.core.errors import DataError, WorkspaceError
from al_loop.core.files import read_json
from al_loop.images import repository
from al_loop.loop.cycle import run_cycle
from al_loop.loop.cycle_record import begin_cycle
from al_loop.loop.recovery import abandon, refreeze
from al_loop.loop.validation_sample import split_sample
from al_loop.loop.verify import reproduce, verify
from al_loop.state.database.pick_table import picks_of
from al_loop.state.file_hashes import shards_in
from al_loop.state.score_key import ScoreKey
from al_loop.state.workspace import Workspace

ROOT = Path(__file__).parents[2]


@pytest.fixture
def loop(workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SmallLoop:
    """A loop with a model and 40 photographs, and without a validation set."""
    loop = small_loop(workspace, tmp_path, monkeypatch, images=40, validation=False)
    loop.workspace = with_cycle(loop.workspace, k=8, validation_images=6)
    return loop


def with_cycle(workspace: Workspace, **settings: Any) -> Workspace:
    config = workspace.config
    return workspace.with_settings(structs.replace(config, cycle=structs.replace(config.cycle, **settings)))


def test_the_first_cycle_has_its_validation_set_labelled(loop: SmallLoop) -> None:
    server = structs.replace(loop.workspace.config.label_studio, url="http://127.0.0.1:1")
    workspace = loop.workspace.with_settings(structs.replace(loop.workspace.config, label_studio=server))
    loop.answered, tell = 0.0, Silent()
    waiting = run_cycle(workspace, None, tell)
    assert not waiting.finished
    assert "0 of 14 labelled" in waiting.message
    assert "\n  validation set: http" in waiting.message
    assert "  no validation set yet: 6 random images are labelled for it, too" in tell.lines
    assert [len(pushed) for pushed in loop.pushed] == [6, 8]
    picks = picks_of(workspace.store, 1)
    assert [bool(pick.validation) for pick in picks] == [True] * 6 + [False] * 8
    assert len({pick.task_key.rpartition("/")[0] for pick in picks}) == 2

    loop.answered = 1.0
    assert run_cycle(workspace, None, tell).finished
    drawn = {pick.image_id for pick in picks if pick.validation}
    assert {item.image.id for item in repository.validation(workspace)} == drawn
    assert loop.images == [8]  # never trained on
    assert [len(pushed) for pushed in loop.pushed] == [6, 8]
    assert "  validation set: 6 images, 6 boxes, 0 images empty. No model is trained on them" in tell.lines
    assert any("the validation set has no box of nut" in line for line in tell.lines)
    assert not [found.text for found in verify(workspace, 1) if found.changed]
    assert not [found.text for found in reproduce(workspace, 1) if found.changed]
    schema = json.loads((ROOT / "docs" / "manifest.schema.json").read_text())
    jsonschema.validate(read_json(workspace.cycle_dir(1) / "manifest.json"), schema)

    assert run_cycle(workspace, None, tell).finished
    assert loop.images == [8, 16]
    assert not any(pick.validation for pick in picks_of(workspace.store, 2))
    assert len(repository.validation(workspace)) == 6


def test_a_part_of_it_is_taken_on_request(loop: SmallLoop) -> None:
    loop.answered = 10 / 14  # the images of the validation set are the first
    assert not run_cycle(loop.workspace, None, Silent()).finished
    assert run_cycle(loop.workspace, None, Silent(), incomplete=True).finished
    assert len(repository.validation(loop.workspace)) == 6
    assert loop.images == [4]


def test_a_kill_after_the_set_was_frozen_loses_nothing(
    loop: SmallLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:

        def killed(*_: object, **__: object) -> None:
            raise WorkspaceError("killed")

        patched.setattr("al_loop.loop.label_stages.remove_evaluation_copies", lambda *_: [])
        patched.setattr("al_loop.loop.label_stages.write_json", killed)
        with pytest.raises(WorkspaceError, match="killed"):
            run_cycle(loop.workspace, None, Silent())
    assert len(repository.validation(loop.workspace)) == 6
    assert run_cycle(loop.workspace, None, Silent()).finished
    assert len(repository.validation(loop.workspace)) == 6
    assert loop.images == [8]


def test_a_lost_list_of_the_pool_is_rebuilt_with_the_images_of_the_set(loop: SmallLoop) -> None:
    loop.workspace = with_cycle(loop.workspace, strategy="random")
    loop.answered = 0.0
    run_cycle(loop.workspace, None, Silent())
    before = (loop.workspace.cycle_dir(1) / "pool.json").read_bytes()
    repository_role(loop.workspace, [p.image_id for p in picks_of(loop.workspace.store, 1) if p.validation])
    (loop.workspace.cycle_dir(1) / "pool.json").unlink()
    run_cycle(loop.workspace, None, Silent())
    assert (loop.workspace.cycle_dir(1) / "pool.json").read_bytes() == before


def repository_role(workspace: Workspace, ids: list[str]) -> None:
    for name in ids:
        workspace.store.execute("UPDATE images SET role = 'validation' WHERE id = ?", name)


def test_a_set_without_a_box_is_refused_and_the_labels_stay(loop: SmallLoop) -> None:
    def empty(*_: object) -> None:
        loop.workspace.store.execute("UPDATE labels SET boxes = '[]', status = 'empty'")

    pull = loop.pull

    def pull_empty(*values: Any) -> Any:
        result = pull(*values)
        empty()
        return result

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("al_loop.labelling.sync.pull_labels", pull_empty)
        with pytest.raises(DataError, match=r"none of the 6 labelled images of the validation set has a box"):
            run_cycle(loop.workspace, None, Silent())
    assert len(repository.labelled(loop.workspace)) == 14
    abandon(loop.workspace, Silent())
    # The next cycle draws others.
    assert run_cycle(loop.workspace, None, Silent()).finished
    assert len(repository.validation(loop.workspace)) == 6


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"validation_images": 0}, r"cycle\.validation_images = 0\. Set it to 30.*pool add-val COCO\.json"),
        ({"k": 30, "validation_images": 500}, None),
    ],
)
def test_the_size_of_the_set(loop: SmallLoop, settings: dict[str, int], says: str | None) -> None:
    workspace, tell = with_cycle(loop.workspace, **settings), Silent()
    if says is not None:
        with pytest.raises(DataError, match=says):
            run_cycle(workspace, None, tell)
        return
    assert run_cycle(workspace, None, tell).finished
    assert len(repository.validation(workspace)) == 10  # a quarter of the pool
    assert loop.images == [30]


def test_a_pool_smaller_than_a_batch(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = small_loop(workspace, tmp_path, monkeypatch, images=3, validation=False)
    with pytest.raises(DataError, match=r"expected 4 or more unlabelled images, got 3\. Add photographs"):
        run_cycle(workspace, None, Silent())
    add_images(workspace, [tmp_path / "in"])
    from support.factories import draw

    for number in range(3, 9):
        draw(64, 64, [], seed=number).save(tmp_path / "in" / f"{number}.png")
    add_images(workspace, [tmp_path / "in"])
    tell = Silent()
    assert run_cycle(workspace, None, tell).finished
    assert tell.lines[0] == (
        "k = 25, but only 7 images besides the 2 of the validation set are unlabelled: taking all of them"
    )
    assert loop.images == [7]


def test_new_settings_before_the_push_draw_again(loop: SmallLoop) -> None:
    begin_cycle(loop.workspace, None, Silent())
    refreeze(with_cycle(loop.workspace, validation_images=3), None, Silent())
    assert run_cycle(loop.workspace, None, Silent()).finished
    assert len(repository.validation(loop.workspace)) == 3


def test_the_draw_of_an_image_does_not_depend_on_the_others(loop: SmallLoop) -> None:
    assert run_cycle(loop.workspace, None, Silent()).finished
    config = loop.workspace.config
    scored = shards_in(loop.workspace, loop.workspace.scores_dir(ScoreKey.of(config, "m0"))).load()
    drawn, rest = split_sample(scored, 6, config.cycle, 1, ())
    assert [p.image_id for p in drawn] == [p.image_id for p in picks_of(loop.workspace.store, 1)[:6]]
    assert len(rest.image_ids) == 34
    fewer, _ = split_sample(rest, 6, config.cycle, 1, ())
    again, _ = split_sample(scored.subset([*map(str, reversed(scored.image_ids))]), 6, config.cycle, 1, ())
    assert [p.image_id for p in again] == [p.image_id for p in drawn]
    assert not {p.image_id for p in fewer} & {p.image_id for p in drawn}
    labelled = {drawn[0].image_id}
    others, _ = split_sample(scored, 6, config.cycle, 1, labelled)
    assert {p.image_id for p in drawn[1:]} < {p.image_id for p in others}
    assert drawn[0].image_id not in {p.image_id for p in others}
