"""Labels that do not come from the cycle itself: they are trained on, and never asked for again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from msgspec import structs
from support.factories import write_coco_set
from support.small_loop import SmallLoop, small_loop

from al_loop.core.console import Silent
from al_loop.core.errors import WorkspaceError
from al_loop.images.pool_labels import add_labelled
from al_loop.images.repository import validation
from al_loop.labelling import sync
from al_loop.labelling.client.task import Agreement
from al_loop.labelling.sync import PullResult
from al_loop.loop.cycle import run_cycle
from al_loop.loop.cycle_record import Cycle
from al_loop.loop.label_stages import blind_tasks
from al_loop.models import evaluation
from al_loop.report import write_report
from al_loop.state.database.pick_table import picks_of
from al_loop.state.model_registry import INITIAL, current_model
from al_loop.state.stages import output_of_cycle
from al_loop.state.workspace import Workspace


@pytest.fixture
def loop(workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SmallLoop:
    return small_loop(workspace, tmp_path, monkeypatch, images=30)


def test_every_cycle_trains_on_the_labels_of_the_user(loop: SmallLoop, tmp_path: Path) -> None:
    add_labelled(loop.workspace, write_coco_set(tmp_path / "mine", 7, seed=7))
    loop.run(cycles=2)
    assert loop.images == [17, 27]


def test_what_is_labelled_after_the_selection_is_not_pushed(
    loop: SmallLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:

        def broken(*_: object, **__: object) -> None:
            raise WorkspaceError("killed")

        patched.setattr("al_loop.loop.cycle.push_stage", broken)
        with pytest.raises(WorkspaceError, match="killed"):
            loop.run()
    picks = picks_of(loop.workspace.store, 1)
    loop.workspace.store.execute(
        "INSERT INTO labels (image_id, status, boxes, annotator, updated_at) "
        "VALUES (?, 'empty', '[]', 'f', '')",
        picks[3].image_id,
    )
    assert run_cycle(loop.workspace, None, Silent()).finished
    [pushed] = loop.pushed
    assert len(pushed) == len(picks) - 1
    assert picks[3].image_id not in pushed


def test_a_push_notes_which_boxes_people_see(loop: SmallLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "least_scores", lambda *_: (0.25, 0.5))
    loop.run()
    assert loop.least_scores == [(0.25, 0.5)]
    assert output_of_cycle(loop.workspace, 1, "push")["least_scores"] == [0.25, 0.5]


def test_a_tenth_of_the_tasks_is_shown_without_boxes(loop: SmallLoop) -> None:
    loop.run(cycles=2)
    assert [len(blind) for blind in loop.blind] == [1, 1]
    assert set(loop.blind[0]) < set(loop.pushed[0])
    assert set(loop.blind[1]) < set(loop.pushed[1])
    assert output_of_cycle(loop.workspace, 1, "push")["blind"] == loop.blind[0]


def test_which_tasks_are_blind_depends_on_seed_cycle_and_share(loop: SmallLoop) -> None:
    ids, settings = [f"i{n:02}" for n in range(40)], loop.workspace.config
    cycle = Cycle(1, 40, current_model(loop.workspace), settings)
    drawn = blind_tasks(ids, settings, cycle)
    assert len(set(drawn)) == 4
    assert blind_tasks(ids[::-1], settings, cycle) == drawn
    assert blind_tasks(ids, settings, replace(cycle, number=2)) != drawn
    none = structs.replace(settings.label_studio, blind_fraction=0.0)
    assert blind_tasks(ids, structs.replace(settings, label_studio=none), cycle) == []
    assert blind_tasks(ids, settings, replace(cycle, model=replace(cycle.model, origin=INITIAL))) == []


def test_a_share_of_the_validation_set_is_labelled_again(
    loop: SmallLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = loop.workspace.config
    some = structs.replace(settings.label_studio, gold_fraction=0.2)
    loop.workspace = replace(loop.workspace, config=structs.replace(settings, label_studio=some))
    with_known = Agreement({"ada": (3, 4)}, {"bolt": (3, 4)})
    asked: list[list[str]] = []

    def pull(workspace: Workspace, cycle: int, _: str, __: int, gold: list[str]) -> PullResult:
        asked.append(gold)
        return PullResult(loop.pull(workspace, cycle).counts, gold=with_known)

    monkeypatch.setattr(sync, "pull_labels", pull)
    reporter = Silent()
    assert run_cycle(loop.workspace, 10, reporter).finished
    (drawn,) = loop.gold
    assert len(drawn) == 2
    assert asked == [drawn]
    assert set(drawn) <= {item.image.id for item in validation(loop.workspace)}
    assert output_of_cycle(loop.workspace, 1, "push")["gold"] == drawn
    assert any("10 tasks with the model's boxes and 2 of the validation set" in x for x in reporter.lines)
    line = "75 % of the objects (ada 75 %; bolt 75 %)"
    assert f"  known labels: people agree with {line}" in reporter.lines
    assert line in write_report(loop.workspace, loop.workspace.root / "report.html").read_text()


def test_a_cycle_waits_for_everybody_and_says_how_far_they_agree(
    loop: SmallLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    agreed = Agreement({"ada": (2, 4), "bob": (2, 4)}, {"bolt": (2, 4)})
    for awaited in (3, 0):

        def pull(workspace: Workspace, cycle: int, *_: object, awaited: int = awaited) -> PullResult:
            return PullResult(loop.pull(workspace, cycle).counts, awaited=awaited, agreement=agreed)

        monkeypatch.setattr(sync, "pull_labels", pull)
        reporter = Silent()
        done = run_cycle(loop.workspace, 10, reporter)
        assert done.finished == (not awaited)
        if awaited:
            assert done.message.splitlines()[1] == (
                "3 of these wait for another person: label_studio.overlap = 1"
            )
    line = "people agree on 50 % of the objects (ada 50 %, bob 50 %; bolt 50 %)"
    assert f"  {line}" in reporter.lines
    assert line in write_report(loop.workspace, loop.workspace.root / "report.html").read_text()
