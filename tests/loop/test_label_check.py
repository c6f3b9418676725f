"""Labels beside the model that a cycle began with, and those that go back to people."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from msgspec import structs
from support.small_loop import SmallLoop, small_loop

from al_loop.core.console import Silent
from al_loop.core.errors import DataError, LabelStudioError, ModelError, WorkspaceError
from al_loop.evaluation.label_doubts import Doubt, Kind
from al_loop.images import repository
from al_loop.labelling import sync
from al_loop.labelling.tasks.review import Review
from al_loop.loop import review_stage
from al_loop.loop.cycle import run_cycle
from al_loop.loop.label_check import check_labels, in_words
from al_loop.loop.review_stage import most_doubtful
from al_loop.models import evaluation
from al_loop.state.stages import output_of_cycle
from al_loop.state.workspace import Workspace
from al_loop.structures.boxes import Boxes
from al_loop.structures.images import ImageFile

CLASSES = ("bolt", "nut")


class Server:
    """Notes what is sent back. answers: whether it does."""

    def __init__(self) -> None:
        self.sent: list[Mapping[str, str]] = []
        self.answers = True

    def send_back(
        self, _: Workspace, cycle: int, server: str, project_id: int, reasons: Mapping[str, str]
    ) -> Review:
        assert (server, project_id) == ("embedded", 1)
        if not self.answers:
            raise LabelStudioError("no answer")
        self.sent.append(reasons)
        return Review(len(reasons), 5, f"http://127.0.0.1:1/review-{cycle}")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    server = Server()
    monkeypatch.setattr(sync, "send_back", server.send_back)
    monkeypatch.setattr(evaluation, "predictions_on", lambda *_, **__: {})
    return server


@pytest.fixture
def loop(workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SmallLoop:
    """The model sees one bolt at 1, 1, 9, 9, or none; people draw a nut at 1, 2, 9, 9."""
    monkeypatch.setattr("support.small_loop.BOLT", "[[1, 2, 9, 9, 1]]")
    return small_loop(workspace, tmp_path, monkeypatch, images=30)


def with_share(loop: SmallLoop, share: float) -> Workspace:
    config = loop.workspace.config
    settings = structs.replace(config.label_studio, review_fraction=share)
    cycle = structs.replace(config.cycle, k=10)
    return loop.workspace.with_settings(structs.replace(config, label_studio=settings, cycle=cycle))


def test_the_most_doubtful_labels_go_back_once(
    loop: SmallLoop, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if the cycle is killed after the review."""
    monkeypatch.setattr(review_stage, "_LEAST_LOSS", 1.0)
    home, reporter = with_share(loop, 0.2), Silent()

    def killed(*_: object) -> None:
        raise WorkspaceError("killed")

    with monkeypatch.context() as patched:
        patched.setattr("al_loop.loop.cycle.train_stage", killed)
        with pytest.raises(WorkspaceError, match="killed"):
            run_cycle(home, None, Silent())
    assert run_cycle(home, None, reporter).finished
    (reasons,) = server.sent
    assert len(reasons) == 2
    assert all("nut at the top left (5, 6): the model sees bolt" in line for line in reasons.values())
    done = output_of_cycle(home, 1, "review")
    assert (done["tasks"], done["view_id"]) == (2, 5)
    assert any("review: 2 images to check again" in line for line in reporter.lines)

    found = check_labels(home, 1, Silent())
    assert len(found.checked) == 10
    assert set(reasons) <= {doubt.image.id for _, doubt in found.doubts}
    assert {doubt.kind for _, doubt in found.doubts} <= {Kind.CLASS, Kind.UNSEEN}
    losses = [doubt.loss for _, doubt in found.doubts]
    assert losses == sorted(losses, reverse=True)
    assert {number for number, _ in check_labels(home, None, Silent()).doubts} == {1}


@pytest.mark.parametrize(("share", "answers", "said"), [(0.0, True, ""), (0.2, False, "left out: no answer")])
def test_a_cycle_does_not_wait_for_a_review(
    loop: SmallLoop, server: Server, share: float, answers: bool, said: str
) -> None:
    server.answers = answers
    reporter = Silent()
    assert run_cycle(with_share(loop, share), None, reporter).finished
    assert server.sent == []
    lines = [line for line in reporter.lines if "review" in line]
    assert [line for line in lines if said not in line] == []
    assert len(lines) == bool(said)


def test_scores_that_are_gone_are_said(loop: SmallLoop, server: Server) -> None:
    home = with_share(loop, 0.0)
    run_cycle(home, None, Silent())
    for file in home.root.glob("scores/**/journal.jsonl"):
        file.unlink()
    found = check_labels(home, 1, Silent())
    assert (found.doubts, found.checked) == ([], [])
    assert "cycle 1: 10 labels are not checked: the scores in " in found.notes[0]


def test_the_validation_set_is_compared_with_the_current_model(
    loop: SmallLoop, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth = repository.validation(loop.workspace)
    seen = Boxes(np.array([[1.0, 1, 3, 3]]), np.zeros(1, np.int64), np.array([0.9]))
    monkeypatch.setattr(evaluation, "predictions_on", lambda *_, **__: {truth[0].image.id: seen})
    found = check_labels(loop.workspace, None, Silent())
    assert found.checked == [item.image.id for item in truth]
    assert (0, Kind.MISSING) in [(number, doubt.kind) for number, doubt in found.doubts]
    assert set(found.sources) == {truth[0].image.id}

    def damaged(*_: object, **__: object) -> dict[str, Boxes]:
        raise ModelError("m0 has changed")

    monkeypatch.setattr(evaluation, "predictions_on", damaged)
    found = check_labels(loop.workspace, None, Silent())
    assert found.notes == ["validation set: 2 labels are not checked: m0 has changed"]


def test_a_cycle_that_is_not_there(loop: SmallLoop) -> None:
    with pytest.raises(DataError, match=r"there is no cycle 7\. See: al-loop status"):
        check_labels(loop.workspace, 7, Silent())


def doubt(image: str, loss: float, kind: Kind = Kind.MISSING) -> Doubt:
    label = None if kind == Kind.MISSING else 0
    file = ImageFile(image, Path("a.png"), 60, 60)
    return Doubt(file, kind, loss, np.array([1.2, 2, 3, 4]), label, None if kind == Kind.UNSEEN else 1, 0.8)


def test_an_image_has_all_its_reasons_and_small_losses_do_not_count() -> None:
    doubts = [doubt("a", 6), doubt("b", 5), doubt("c", 4), doubt("a", 3.2, Kind.CLASS), doubt("b", 2.9)]
    found = most_doubtful(doubts, 2, CLASSES)
    assert found == {
        "a": "Please check: no box at the top left (2, 3): the model sees nut (80 %); "
        "bolt at the top left (2, 3): the model sees nut (80 %)",
        "b": "Please check: no box at the top left (2, 3): the model sees nut (80 %)",
    }


def test_every_kind_has_its_words() -> None:
    assert in_words(doubt("a", 1, Kind.OFF), CLASSES) == (
        "bolt at the top left (2, 3): the model's box of nut differs in place or size (80 %)"
    )
    assert (
        in_words(doubt("a", 1, Kind.UNSEEN), CLASSES)
        == "bolt at the top left (2, 3): the model sees nothing there"
    )


@pytest.mark.parametrize(
    ("box", "place"),
    [([0, 0, 2, 2], "top left (1, 1)"), ([29, 29, 31, 31], "centre (30, 30)"),
     ([29, 58, 31, 60], "bottom (30, 59)"), ([58, 29, 62, 31], "right (60, 30)")],
)  # fmt: skip
def test_where_a_box_is(box: list[float], place: str) -> None:
    found = Doubt(ImageFile("a", Path("a.png"), 60, 60), Kind.UNSEEN, 1.0, np.array(box), 0, None, 0.0)
    assert in_words(found, CLASSES) == f"bolt at the {place}: the model sees nothing there"
