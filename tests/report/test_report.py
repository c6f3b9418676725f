"""The report of a real workspace: what it says, where it draws, and what it does without."""

from __future__ import annotations

import base64
import io
import itertools
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.report_page import rects, written
from support.workspace_history import (
    NASTY,
    add_cycle,
    add_model,
    add_pick,
    boxes,
    long_history,
    metrics,
)

from al_loop.core.files import write_json
from al_loop.report import gallery
from al_loop.report.curve import curve_of, draw_curve
from al_loop.report.gather import gather
from al_loop.report.pictures import draw_boxes
from al_loop.state.model_registry import get_model, promote, register_model, rollback, save_metrics
from al_loop.state.score_key import ScoreKey
from al_loop.state.workspace import Workspace, now

pytestmark = pytest.mark.integration


def test_it_loads_nothing(ran: Workspace) -> None:
    page = written(ran)
    loaded = [
        (element.tag, name, element.attributes[name])
        for tag in ("img", "image", "use", "link", "script", "iframe", "source", "object", "embed", "video")
        for element in page.root.all(tag)
        for name in ("src", "href", "xlink:href", "data", "srcset")
        if name in element.attributes
    ]
    assert loaded
    assert all(value.startswith(("data:", "#")) for _, _, value in loaded), loaded
    assert not re.search(r"@import|url\(\s*['\"]?(?!#)", page.source)
    assert "http://" not in page.source
    assert "https://" not in page.source
    assert not list(ran.root.glob("*.partial"))


def test_picks_are_shown_in_order_with_reason_and_state(ran: Workspace) -> None:
    page = written(ran)
    cards = page.cards()
    assert list(cards) == [NASTY, "empty.png", "skipped.png"]
    assert "Reason: rank 1 & <best>" in cards[NASTY].text
    assert "Uncertainty: 2.50" in cards[NASTY].text
    assert "Uncertainty: 2.25" in cards["empty.png"].text
    assert [card.all("span", "badge")[0].text for card in cards.values()] == [
        "labelled",
        "empty: no objects",
        "skipped",
    ]
    # A name is text wherever it stands, also in alt texts.
    assert NASTY not in page.source
    assert any(NASTY in svg.attributes["aria-label"] for svg in cards[NASTY].all("svg"))
    assert not page.root.all("best")
    assert not page.root.all("b>")


def test_boxes_are_drawn_where_they_are(ran: Workspace) -> None:
    card = written(ran).cards()[NASTY]
    model, people = card.all("svg", "picture")
    # HTMLParser writes attributes in lower case.
    assert model.attributes["viewbox"] == people.attributes["viewbox"] == "0 0 800 400"
    # 0.29 is below min_score: annotators did not get to see that box.
    assert rects(model, "predicted") == [(110, 60, 200, 100), (600, 10, 100, 50)]
    assert rects(model, "corrected") == []
    assert rects(people, "corrected") == [(100, 50, 200, 100), (400, 200, 100, 190)]
    assert rects(people, "predicted") == []
    assert [text.text for text in model.all("text")] == ["bolt 0.91", "nut 0.30"]
    assert [text.text for text in people.all("text")] == ["bolt", "nut"]
    assert "2 boxes: bolt 0.91, nut 0.30" in model.attributes["aria-label"]


def test_the_boxes_are_those_that_annotators_saw(ran: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """The push notes from which score each class is shown."""
    monkeypatch.setattr(gallery, "output_of_cycle", lambda *_: {"least_scores": [0.95, 0.2]})
    model, _ = written(ran).cards()[NASTY].all("svg", "picture")
    assert [text.text for text in model.all("text")] == ["nut 0.30", "nut 0.29"]
    (blind,) = (pick.image.id for pick in gather(ran).cycles[0].picks if pick.name == NASTY)
    monkeypatch.setattr(gallery, "output_of_cycle", lambda *_: {"least_scores": [0.0, 0.0], "blind": [blind]})
    assert "Model no box was shown" in written(ran).cards()[NASTY].text


def test_one_thumbnail_serves_both_pictures(ran: Workspace) -> None:
    page = written(ran)
    model, people = page.cards()[NASTY].all("svg", "picture")
    (image,), (use,) = model.all("image"), people.all("use")
    assert use.attributes["href"] == f"#{image.attributes['id']}"
    assert (image.attributes["width"], image.attributes["height"]) == ("800", "400")
    data = base64.b64decode(image.attributes["href"].removeprefix("data:image/jpeg;base64,"))
    with Image.open(io.BytesIO(data)) as thumbnail:
        assert (thumbnail.format, thumbnail.size) == ("JPEG", (360, 180))
        assert np.allclose(thumbnail.getpixel((90, 90)), (40, 90, 160), atol=6)
    identities = re.findall(r'\bid="([^"]+)"', page.source)
    assert len(identities) == len(set(identities))


def test_what_people_found_is_told_from_what_they_left(ran: Workspace) -> None:
    cards = written(ran).cards()
    assert "People no objects" in cards["empty.png"].text
    assert len(cards["empty.png"].all("svg", "picture")) == 2
    assert "People no labels" in cards["skipped.png"].text
    assert len(cards["skipped.png"].all("svg", "picture")) == 1
    assert "Model no box was shown" in cards["skipped.png"].text


def test_numbers_of_the_curve(ran: Workspace) -> None:
    page = written(ran)
    header, cycle, start = page.table("curve")
    assert header == ["Cycle", "Labels", "Boxes", "AP before", "AP after", "AP50", "Outcome", "Reason"]
    assert cycle == ["1", "2", "2", "0.200", "0.300", "0.450", "promoted", "AP 0.200 → 0.300: <not> worse"]
    assert start[:6] == ["start", "0", "0", "–", "0.200", "0.300"]
    assert "AP 0.300" in page.text
    assert "+0.100 since the first model" in page.text


def test_classes_of_the_first_and_the_current_model(ran: Workspace) -> None:
    rows = [row[:4] for row in written(ran).table("classes")[1:]]
    assert rows == [["bolt", "0.250", "0.200", "−0.050"], ["nut", "0.100", "0.400", "+0.300"]]


def test_refused_models_are_off_the_line(ran: Workspace) -> None:
    add_cycle(ran, 2, "kept", "AP 0.300 → 0.250: worse")
    ran.store.execute("UPDATE cycles SET model_id = 'cycle-1' WHERE number = 2")
    add_model(ran, "cycle-2", metrics(0.25), cycle=2, images=5)
    curve = curve_of(gather(ran))
    assert curve is not None
    assert [(p.labels, p.metrics.ap, p.promoted) for p in curve.points] == [
        (0, 0.2, True),
        (2, 0.3, True),
        (5, 0.25, False),
    ]
    assert [(labels, m.ap) for labels, m in curve.in_use] == [(0, 0.2), (2, 0.3), (5, 0.3)]
    add_cycle(ran, 3, None)
    add_model(ran, "cycle-3", metrics(0.9), cycle=3, images=8)
    assert curve_of(gather(ran)) == curve, "a cycle under way has decided nothing yet"
    svg = draw_curve(curve, (6, 3), "x")
    assert svg == draw_curve(curve, (6, 3), "x")
    assert svg.startswith("<svg ")
    assert "AP 0.300" in svg
    assert "#" not in re.sub(r'"#|url\(#|&#', "", svg), "a colour that does not follow light and dark"
    assert "var(--paper)" in svg  # the hollow point


def test_the_notice_stands_before_everything(ran: Workspace) -> None:
    assert "About these images" not in written(ran).text
    ran.store.execute("INSERT INTO facts VALUES ('pool_note', 'The pool is RENDERED <not> real.')")
    page = written(ran)
    (notice,) = page.root.all("p", "notice")
    assert notice.text == "About these images. The pool is RENDERED <not> real."
    assert page.source.index("RENDERED") < page.source.index("<main")


def test_models_and_promotions(ran: Workspace) -> None:
    rollback(ran)
    page = written(ran)
    rows = page.table("models")[1:]
    assert [row[:4] for row in rows] == [
        ["m0 current", "–", "pretrain", "0.200"],
        ["└ cycle-1", "m0", "cycle 1", "0.300"],
    ]
    log = [item.text for item in page.root.all("ol", "log")[0].all("li")]
    assert log[0].startswith("m0 ")
    assert log[0].endswith("rolled back from cycle-1")
    assert len(log) == 3


def test_headings_go_down_one_step_at_a_time(ran: Workspace) -> None:
    add_cycle(ran, 2, None)
    steps = [int(level) for level in re.findall(r"<h([1-6])", written(ran).source)]
    assert steps[0] == 1
    assert steps.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(steps)), steps


def test_an_empty_workspace(workspace: Workspace) -> None:
    text = written(workspace).text
    assert "No cycle yet" in text
    assert "No model yet" in text
    assert "Nothing to plot" in text
    assert "run al-loop pool add PHOTOS..." in text


def test_a_model_without_a_cycle(workspace: Workspace) -> None:
    add_model(workspace, "m0", metrics(0.2, 0.3))
    promote(workspace, get_model(workspace, "m0"), "the first model")
    page = written(workspace)
    assert page.table("curve")[1][:7] == ["start", "0", "0", "–", "0.200", "0.300", "in use"]
    assert [row[:2] for row in page.table("classes")[1:]] == [["bolt", "0.300"], ["nut", "–"]]


def test_a_model_that_was_never_judged(workspace: Workspace) -> None:
    register_model(workspace, "m0", "import", "0" * 64, None, None)
    promote(workspace, get_model(workspace, "m0"), "the first model")
    page = written(workspace)
    assert "not evaluated on a validation set yet" in page.text
    assert page.table("curve")[1][4] == "–"


def test_an_ap_that_is_not_a_number(ran: Workspace) -> None:
    add_cycle(ran, 2, "kept", "its AP is not a number (nan)")
    add_model(ran, "cycle-2", metrics(float("nan")), cycle=2, images=4)
    assert written(ran).table("curve")[1][4] == "not a number"


def test_an_open_cycle_says_what_it_waits_for(ran: Workspace) -> None:
    add_cycle(ran, 2, None)
    rest = ran.store.row("SELECT id FROM images WHERE source LIKE '%rest.png'")
    assert rest is not None
    add_pick(ran, 2, 0, rest["id"], "pending")
    for name, state in (("score", "done"), ("pull", "waiting")):
        ran.store.execute(
            "INSERT INTO stages VALUES ('cycle-2', ?, 'x', ?, NULL, 1, ?, NULL)", name, state, now()
        )
    push = ran.cycle_dir(2) / "push"
    push.mkdir(parents=True)
    write_json(
        push / "stage.json",
        {"output": {"queue_url": "http://127.0.0.1:8080/projects/1/data?tab=3&labeling=1"}},
    )
    page = written(ran)
    assert "Under way: score done, pull waiting. 0 of 1 labelled: 1 image left." in page.text
    assert page.table("curve")[1][4:7] == ["–", "–", "under way"]
    (link,) = [a for a in page.root.all("a") if a.text == "Label Studio"]
    assert link.attributes["href"] == "http://127.0.0.1:8080/projects/1/data?tab=3&labeling=1"
    # No predictions of it were stored: said, with the picture shown all the same.
    card = page.cards()["rest.png"]
    assert "Model boxes not known" in card.text
    assert "waiting for people" in card.text
    assert "has no predictions for 1 of these images" in page.text

    write_json(push / "stage.json", {"output": {"queue_url": "javascript:alert(1)"}})
    assert "javascript:" not in written(ran).source


def test_a_cycle_that_has_just_begun(ran: Workspace) -> None:
    add_cycle(ran, 2, None)
    text = written(ran).text
    assert "Under way: just begun." in text
    assert "No image has been picked yet." in text


def test_missing_files_are_said(ran: Workspace) -> None:
    shards = ran.scores_dir(ScoreKey.of(ran.config, "m0"))
    for path in shards.iterdir():
        path.write_bytes(b"damaged")
    for path in (ran.root / "images").rglob("*.png"):
        path.write_bytes(path.read_bytes()[:40])
    (ran.model_dir("cycle-1") / "stage.json").write_text("{")
    page = written(ran)
    assert "are damaged" in page.text
    assert "picture missing or damaged" in page.cards()[NASTY].text
    assert "2 boxes: bolt, nut" in page.cards()[NASTY].text
    assert page.table("curve")[1][1] == "2", "labels are counted where the training left no note"

    for path in [*shards.iterdir(), *(ran.root / "images").rglob("*.png")]:
        path.unlink()
    shards.rmdir()
    page = written(ran)
    assert f"scores/m0/{shards.name} is missing" in page.text
    assert not shards.exists(), "a report must not make folders"
    assert not page.root.all("image")


def test_another_validation_set_is_said(ran: Workspace) -> None:
    assert "validation set has changed" not in written(ran).text
    ran.store.execute("DELETE FROM evaluations WHERE model_id = 'cycle-1'")
    save_metrics(ran, "cycle-1", "val-2", metrics(0.5))
    page = written(ran)
    assert "The validation set has changed" in page.text
    assert page.table("curve")[1][3:5] == ["0.200 *", "0.500"]
    assert [row[1] for row in page.table("classes")[1:]] == ["–", "–"], "not judged on the same images"
    # Once both are judged on it, the two compare.
    save_metrics(ran, "m0", "val-2", metrics(0.35))
    assert written(ran).table("curve")[1][3:5] == ["0.350", "0.500"]
    # A third that has judged only one of them changes nothing.
    save_metrics(ran, "cycle-1", "val-3", metrics(0.9))
    assert written(ran).table("curve")[1][3:5] == ["0.350", "0.500"]


def test_older_cycles_and_too_many_pictures_become_tables(
    ran: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = [row["image_id"] for row in ran.store.rows("SELECT image_id FROM picks ORDER BY rank")]
    add_cycle(ran, 2)
    for rank, image in enumerate(images):
        add_pick(ran, 2, rank, image, "known")
    assert len(written(ran).root.all("figure", "card")) == 6

    monkeypatch.setattr(gallery, "CYCLES_WITH_PICTURES", 1)
    page = written(ran)
    (older,) = page.root.all("details", "cycle")
    assert not older.all("figure", "card")
    assert [row.children[1].text for row in older.all("tr")[1:]] == [NASTY, "empty.png", "skipped.png"]
    assert "rank 1 & <best>" in older.text

    one = len(page.root.all("image")[0].attributes["href"])
    monkeypatch.setattr(gallery, "CYCLES_WITH_PICTURES", 5)
    monkeypatch.setattr(gallery, "PICTURES_BYTES", int(2.5 * one))
    page = written(ran)
    assert len(page.root.all("image")) == 2
    assert "1 more pick without pictures" in page.root.all("article", "cycle")[0].text
    assert not page.root.all("details", "cycle")[0].all("figure", "card")


@pytest.mark.slow
def test_200_cycles_and_5000_picks_stay_small(workspace: Workspace, tmp_path: Path) -> None:
    long_history(workspace, tmp_path / "in")
    page = written(workspace)
    assert len(page.root.all("details", "cycle")) == 199
    pictures = sum(len(image.attributes["href"]) for image in page.root.all("image"))
    assert pictures > 1_000_000
    assert len(page.source.encode()) - pictures + gallery.PICTURES_BYTES < 20_000_000


def test_tags_stay_on_the_picture_and_off_each_other() -> None:
    found = boxes((0, 0, 60, 60, 0, 0.9), (5, 5, 66, 66, 1, 0.8), (640, 440, 800, 400 + 90, 0, 0.7))
    drawn = draw_boxes(found, ("bolt", "nut"), 800, 500)
    assert [item.text for item in drawn] == ["bolt 0.90", "nut 0.80", "bolt 0.70"]
    for item in drawn:
        assert item.tag.x >= 0
        assert item.tag.y >= 0
        assert item.tag.x + item.tag.width <= 800
        assert item.tag.y + item.tag.height <= 500
    assert drawn[0].tag.shared_area(drawn[1].tag) == 0
