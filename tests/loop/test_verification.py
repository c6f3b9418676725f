"""Boxes that people verify: which they are, what is stored, and what a cycle learns from them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import httpx
import numpy as np
import pytest
from msgspec import structs
from support.small_loop import BOLT, SmallLoop, small_loop

from al_loop.core.console import Silent
from al_loop.core.errors import DataError, ModelError
from al_loop.core.files import read_json
from al_loop.images.validation_sets import add_validation
from al_loop.images.verified import partly_labelled, verified
from al_loop.labelling.verification.page import Page
from al_loop.labelling.verification.questions import Answer, Question
from al_loop.loop.cycle import run_cycle
from al_loop.loop.label_versions import compare_labels
from al_loop.loop.pool_scoring import LabelSummary
from al_loop.loop.verification import Session, choose_questions
from al_loop.loop.verify import reproduce, verify
from al_loop.models import evaluation, scoring
from al_loop.report.gather import gather
from al_loop.state.database.label_table import labels_until
from al_loop.state.database.pick_table import picks_of
from al_loop.state.database.verdict_table import all_verdicts
from al_loop.state.file_hashes import shards_in
from al_loop.state.model_registry import Model
from al_loop.state.stages import output_of_cycle
from al_loop.state.workspace import Workspace, open_workspace
from al_loop.structures.boxes import Boxes
from al_loop.structures.images import ImageFile, Prediction
from strategies import Calibration

RIGHT = Answer("right", 2.0)


@pytest.fixture
def loop(workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SmallLoop:
    return small_loop(workspace, tmp_path, monkeypatch, images=40)


def answer(workspace: Workspace, *answers: Answer | None) -> Session:
    """Answer as many questions."""
    questions = choose_questions(workspace, len(answers), (), Silent())
    session = Session(workspace, questions)
    for number, item in enumerate(answers):
        session.answer(number, item)
    return session


def test_the_least_certain_boxes_are_asked_about(loop: SmallLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    questions = choose_questions(loop.workspace, 1000, (), Silent())
    assert len({item.image.id for item in questions}) == len(questions) > 20  # all boxes of an image are one
    scores = [item.score for item in questions]
    assert scores == sorted(scores, reverse=True)
    some = choose_questions(loop.workspace, 5, ("bolt",), Silent())
    assert sorted(abs(item.score - 0.5) for item in some) == sorted(abs(s - 0.5) for s in scores)[:5]
    assert {item.label for item in some} == {0}
    # A chance of a half is at another score where the boxes are calibrated: at σ(2) = 0.88.
    known = Calibration(1.0, (-2.0, 0.0), 0.9, 0.0, 0.0)
    monkeypatch.setattr(evaluation, "box_calibration", lambda *_: known)
    chosen = [item.score for item in choose_questions(loop.workspace, 5, (), Silent())]
    assert np.mean(np.abs(np.array(chosen) - 0.88)) < np.mean(np.abs([s.score - 0.88 for s in some]))


def test_what_cannot_be_asked(loop: SmallLoop) -> None:
    with pytest.raises(DataError, match=r"'screw' is no class of this workspace: expected bolt, nut"):
        choose_questions(loop.workspace, 5, ("screw",), Silent())
    with pytest.raises(DataError, match="no further box"):
        choose_questions(loop.workspace, 5, ("nut",), Silent())


def test_a_workspace_without_a_model(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = small_loop(workspace, tmp_path, monkeypatch, images=4, model=False)
    with pytest.raises((ModelError, DataError)):
        choose_questions(loop.workspace, 5, (), Silent())


def test_answers_are_stored_at_once_and_can_be_taken_back(loop: SmallLoop) -> None:
    session = answer(loop.workspace, RIGHT, Answer("wrong", 1.0), Answer("class", 3.0, 1), Answer("off", 1.0))
    rows = all_verdicts(loop.workspace.store)
    assert sorted((row.verdict, row.label, row.seconds) for row in rows) == [
        ("class", 1, 3.0), ("off", 0, 1.0), ("right", 0, 2.0), ("wrong", 0, 1.0),
    ]  # fmt: skip
    assert {row.model_id for row in rows} == {"m0"}
    session.answer(1, RIGHT)
    session.answer(2, None)
    session.answer(3, None)
    assert [row.verdict for row in all_verdicts(loop.workspace.store)] == ["right"] * 2
    # They are not asked again.
    asked = {(row.image_id, row.box) for row in all_verdicts(loop.workspace.store)}
    again = choose_questions(loop.workspace, 1000, (), Silent())
    assert not asked & {(item.image.id, json.dumps([*item.box, item.label])) for item in again}


def test_a_verified_image_is_unknown_elsewhere(loop: SmallLoop) -> None:
    answer(loop.workspace, RIGHT, Answer("wrong", 1.0), Answer("class", 3.0, 1), Answer("off", 1.0))
    images = verified(loop.workspace).images
    assert sorted(item.boxes.labels.tolist() for item in images) == [[0], [1]]
    for item in images:
        np.testing.assert_array_equal(item.boxes.xyxy, [[1, 1, 9, 9]])
        np.testing.assert_array_equal(item.ignored.xyxy, [[0, 0, 64, 64]])
    # A label of the whole image is worth more.
    loop.workspace.store.execute(
        "INSERT INTO labels (image_id, status, boxes, updated_at) VALUES (?, 'labelled', ?, 'now')",
        images[0].image.id,
        BOLT,
    )
    assert [item.image.id for item in verified(loop.workspace).images] == [images[1].image.id]


def test_what_a_model_sees_is_unknown_but_for_known_boxes() -> None:
    """A right, a wrong and two other boxes: one of these is beside the right one, too."""
    file = ImageFile("a", Path("a.png"), 100, 100)
    right, wrong = Boxes(np.array([[10.0, 10, 30, 30]]), np.array([1])), np.array([[60.0, 60, 80, 80]])
    seen = np.array([[11.0, 10, 31, 30], [60, 61, 80, 81], [40, 10, 60, 30], [24, 10, 44, 30]])
    found = partly_labelled(file, right, wrong, Boxes(seen, np.zeros(4, int), np.ones(4)))
    np.testing.assert_array_equal(found.boxes.xyxy, right.xyxy)
    np.testing.assert_array_equal(found.ignored.xyxy, seen[2:])
    nothing = Boxes(np.zeros((0, 4)), np.zeros(0, int))
    assert not len(partly_labelled(file, right, wrong, nothing).ignored)


def test_a_person_who_looks_at_nothing_is_not_believed(loop: SmallLoop) -> None:
    quick = Answer("right", 0.1)
    answer(loop.workspace, *[quick] * 19)
    assert len(verified(loop.workspace).images) == 19  # too few to tell
    loop.workspace.store.execute("DELETE FROM verdicts")
    answer(loop.workspace, *[quick] * 20)
    found = verified(loop.workspace)
    assert (found.images, len(found.hasty)) == ([], 1)
    reporter = Silent()
    run_cycle(loop.workspace, 5, reporter)
    line = "  note: answers of one al-loop labels verify are not used: all the same, in less than 0.4 s"
    assert line in reporter.lines
    # The boxes are asked again, and one that is called wrong is enough to believe.
    answer(loop.workspace, RIGHT, *[quick] * 19, Answer("wrong", 0.1))
    assert len(verified(loop.workspace).images) >= 15


def test_what_a_model_may_have_learnt_is_not_drawn_at_random(loop: SmallLoop) -> None:
    config = loop.workspace.config
    audit = structs.replace(config.cycle, k=10, strategy="margin", random_audit_fraction=1.0)
    here = loop.workspace.with_settings(structs.replace(config, cycle=audit))
    answer(here, *[RIGHT] * 20)
    seen = {row.image_id for row in all_verdicts(here.store)}
    assert len(seen) == 20
    assert run_cycle(here, None, Silent()).finished
    picks = picks_of(here.store, 1)
    assert len(picks) == 10
    assert not seen & {row.image_id for row in picks if row.audit}
    known = LabelSummary.of(read_json(here.cycle_dir(1) / "select" / "known.json"))
    assert set(known.partly) == seen
    assert not any(finding.changed for finding in reproduce(here, 1))


def test_copies_of_evaluation_images_are_not_learnt(loop: SmallLoop, tmp_path: Path) -> None:
    answer(loop.workspace, *[RIGHT] * 3)
    copied = verified(loop.workspace).images[0].image
    image = {"id": 1, "file_name": str(copied.path), "width": 64, "height": 64}
    box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 9, 9]}
    categories = [{"id": 1, "name": "bolt"}, {"id": 2, "name": "nut"}]
    file = tmp_path / "more.json"
    file.write_text(json.dumps({"images": [image], "annotations": [box], "categories": categories}))
    add_validation(loop.workspace, file)
    assert copied.id not in {item.image.id for item in verified(loop.workspace).images}
    assert len(verified(loop.workspace).images) == 2


def test_a_cycle_learns_verified_boxes(loop: SmallLoop) -> None:
    here = loop.run(strategy="margin", cycles=1)
    answer(here, *[RIGHT] * 6)
    asked = {row.image_id for row in all_verdicts(here.store)}
    reporter = Silent()
    config = here.config
    assert run_cycle(here.with_settings(config), None, reporter).finished
    picked = {row["image_id"] for row in here.store.rows("SELECT image_id FROM picks WHERE cycle = 2")}
    learnt = asked - picked  # people have labelled the others as a whole
    assert loop.images == [10, 20 + len(learnt)]
    line = f"  verified: {len(learnt)} boxes on {len(learnt)} images without a label are learnt, too"
    assert (line in reporter.lines) == bool(learnt)
    assert set(output_of_cycle(here, 2, "pull")["verified"]) == learnt
    # They are no labels: neither in the counts nor among the versions of the labels.
    assert labels_until(here.store, 2) == 20
    assert [row.labels for row in gather(here).cycles] == [20, 10]
    found = compare_labels(here, "2", "now")
    assert (found.both, found.only_before, found.only_after) == (20, (), ())
    assert not any(finding.changed for finding in reproduce(here, 2))
    assert not any(finding.changed for finding in verify(here, 2))


def serve(root: Path, questions: list[Question], address: Connection) -> None:
    """Run the page in a process of its own."""
    workspace = open_workspace(root)
    page = Page(questions, workspace.config.classes)
    address.send(page.url)
    page.run(Session(workspace, questions).answer)


def test_a_killed_page_loses_no_answer(loop: SmallLoop) -> None:
    questions = choose_questions(loop.workspace, 8, (), Silent())
    spawn = get_context("spawn")
    here, there = spawn.Pipe()
    process = spawn.Process(target=serve, args=(loop.workspace.root, questions, there))
    process.start()
    url = here.recv()
    for number in range(5):
        given = {"number": number, "answer": {"verdict": "right", "seconds": 1.0}}
        assert httpx.post(f"{url}answer", json=given).status_code == 200
    process.kill()
    process.join()
    stored = {row.image_id for row in all_verdicts(loop.workspace.store)}
    assert stored == {item.image.id for item in questions[:5]}
    left = choose_questions(loop.workspace, 1000, (), Silent())
    assert not stored & {item.image.id for item in left}


def eight_boxes(
    workspace: Workspace,
    model: Model,
    images: Sequence[ImageFile],
    folder: Path,
    *_: object,
) -> list[object]:
    """Stand in for `models.scoring.score`: six bolts and two nuts on each image, and one bolt twice."""
    store = shards_in(workspace, folder)
    for image in store.missing(images):
        corner = np.array([[8.0 * n, 0] for n in (0, 0, 1, 2, 3, 4, 5, 6)])
        boxes = Boxes(np.hstack([corner, corner + 7]), np.array([0] * 6 + [1] * 2), np.linspace(0.9, 0.1, 8))
        shares = np.full((8, 3), 1 / 3, np.float32)
        store.append(
            [Prediction(image.id, boxes, shares, np.zeros(4, np.float32), maxima=np.ones(4, np.float32))]
        )
    return []


def test_classes_are_asked_about_equally_and_images_not_too_often(
    loop: SmallLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring, "score", eight_boxes)
    some = choose_questions(loop.workspace, 60, (), Silent())
    assert Counter(item.label for item in some) == {0: 30, 1: 30}
    everything = choose_questions(loop.workspace, 1000, (), Silent())
    assert set(Counter(item.image.id for item in everything).values()) == {5}
    assert len({(item.image.id, item.box) for item in everything}) == len(
        everything
    )  # of the same place, one
    assert [item.label for item in everything] == sorted(item.label for item in everything)
    # Images that people label as a whole are not asked about.
    loop.answered = 0.0
    run_cycle(loop.workspace, 10, Silent())
    left = choose_questions(loop.workspace, 1000, (), Silent())
    assert len({item.image.id for item in left}) == 30
