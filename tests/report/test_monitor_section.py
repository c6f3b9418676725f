"""Other sections of the report: incoming images, labelling cost, errors, models, JSON."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from msgspec import structs
from support.fake_model import score
from support.report_page import Page, written
from support.workspace_history import add_cycle, add_model, add_pool, metrics

from al_loop.core.config import MonitorConfig
from al_loop.core.console import Silent
from al_loop.core.files import write_json
from al_loop.images.repository import boxes_to_json
from al_loop.models import scoring
from al_loop.monitor.run import check
from al_loop.report import report_json
from al_loop.state.model_registry import get_model, promote, save_metrics
from al_loop.state.prediction_store import ShardStore
from al_loop.state.workspace import Workspace
from al_loop.structures.boxes import Boxes
from al_loop.structures.images import Prediction
from al_loop.structures.metrics import Metrics


@pytest.fixture
def watched(workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A workspace whose inbox drifted: 60 usual images, then 100 that the fake model sees as odd."""
    monkeypatch.setattr(scoring, "score", score)
    config = structs.replace(workspace.config, monitor=MonitorConfig(triggers=("new-data", "drift")))
    here = Workspace(workspace.root, config, workspace.store)
    add_pool(here, tmp_path / "in", [f"{n}.png" for n in range(60)], size=(40, 30))
    add_model(here, "m0", metrics(0.2, 0.25, 0.1))
    promote(here, get_model(here, "m0"), "the first")
    check(here, Silent(), act=False)
    add_pool(here, tmp_path / "odd", [f"odd-{n}.png" for n in range(100)], size=(41, 31))
    with here.store.transaction():  # the fake model sees the name
        here.store.execute("PRAGMA defer_foreign_keys = ON")
        here.store.execute("UPDATE images SET id = 'odd-' || id WHERE source LIKE '%/odd/%'")
    assert check(here, Silent(), act=False).triggered
    return here


def section(page: Page, name: str) -> str:
    (found,) = [s for s in page.root.all("section") if s.attributes.get("id") == name]
    return found.text


@pytest.mark.integration
def test_what_comes_in(watched: Workspace) -> None:
    page = written(watched)
    (incoming,) = [s for s in page.root.all("section") if s.attributes.get("id") == "incoming"]
    table, windows = incoming.all("table")
    said = [[cell.text for cell in row.children] for row in table.all("tr")[1:]]
    assert [row[:2] for row in said] == [["new-data", "is not due"], ["drift", "is due"]]
    assert "embeddings differ by" in said[1][2]
    rows = [[cell.text for cell in row.children] for row in windows.all("tr")[1:]]
    assert [(row[0], row[2], row[5]) for row in rows] == [("2", "m0", "alarm"), ("1", "m0", "drifted")]
    assert all(float(row[3]) > 0.5 for row in rows)
    assert "Most drifted images of window 2" in section(page, "incoming")
    (strip,) = page.root.all("div", "strip")
    pictures = strip.all("img")
    assert len(pictures) == 8
    assert all(p.attributes["src"].startswith("data:image/jpeg;base64,") for p in pictures)
    assert all(p.attributes["alt"].startswith("odd-") for p in pictures)
    assert not re.search(
        r"#0[0-9]0[0-9]0[0-9]\b", "".join(s for s in page.source.split("<style>")[1].split("</style>")[1:])
    )


def test_nobody_watches(workspace: Workspace) -> None:
    assert "The monitor has not run yet" in section(written(workspace), "incoming")


@pytest.mark.integration
def test_cost_and_what_the_models_boxes_were_worth(workspace: Workspace, tmp_path: Path) -> None:
    ids = add_pool(workspace, tmp_path / "in", ["a.png", "b.png", "c.png"])
    add_model(workspace, "m0", metrics(0.2))
    add_cycle(workspace, 1)
    box = boxes_to_json(Boxes(np.array([[1.0, 1, 9, 9], [20, 20, 30, 30]]), np.zeros(2, np.int64)))
    for name, seconds in (("a.png", 30.0), ("b.png", 60.0), ("c.png", None)):
        workspace.store.execute(
            "INSERT INTO labels (image_id, status, boxes, cycle, annotator, lead_time_s, updated_at) "
            "VALUES (?, 'labelled', ?, 1, 'ann', ?, 'now')",
            *(ids[name], box, seconds),
        )
    pull = workspace.cycle_dir(1) / "pull"
    pull.mkdir(parents=True)
    edits = {"kept": 3, "moved": 1, "resized": 0, "relabelled": 1, "deleted": 2, "added": 1}
    write_json(pull / "stage.json", {"output": {"edits": edits}})
    page = written(workspace)
    assert "Labelling cost 2 min 45 s per image, measured on 2 of 3 6 boxes" in page.text
    said = section(page, "cycles")
    assert "Cost: 3 images, 6 boxes, 1.5 min on 2 of them." in said
    assert "Of 7 boxes by the model, people kept 3, moved 1, resized 0, relabelled 1 and deleted 2" in said
    assert "they added 1. 50 % of the final boxes are unchanged boxes of the model." in said


@pytest.mark.integration
def test_errors_of_the_model_in_use(filled: Workspace) -> None:
    from al_loop.images.repository import validation

    add_model(filled, "m0", metrics(0.2))
    promote(filled, get_model(filled, "m0"), "x")
    assert "errors" not in {s.attributes.get("id") for s in written(filled).root.all("section")}
    truth = validation(filled)
    store = ShardStore(filled.model_dir("m0") / "validation" / f"thr-{filled.config.score.score_thr:g}")
    wrong = [(i.boxes.labels + 1) % 2 if n == 0 else i.boxes.labels for n, i in enumerate(truth)]
    store.append(
        [
            Prediction(
                i.image.id,
                Boxes(i.boxes.xyxy, labels, np.full(len(labels), 0.9)),
                np.ones((len(labels), 3), np.float32),
                np.zeros(4, np.float32),
            )
            for i, labels in zip(truth, wrong, strict=True)
        ]
    )
    said = section(written(filled), "errors")
    assert "Right 6 of 8 true boxes" in said
    assert "Misclassified 2 found" in said
    assert "Images without an error 75 %" in said


@pytest.mark.integration
def test_intervals_and_other_sets(workspace: Workspace) -> None:
    add_model(workspace, "m0", Metrics(0.2, 0.3, 0.2, {"bolt": 0.2, "nut": None}, 4, 8, 0.15, 0.27))
    promote(workspace, get_model(workspace, "m0"), "x")
    workspace.store.execute("INSERT INTO images VALUES ('i', 'i', 'i', 9, 9, 'i', 'validation', 'now', 1)")
    workspace.store.execute("INSERT INTO sets VALUES ('night', 'i')")
    save_metrics(workspace, "m0", "n", metrics(0.11), "night")
    page = written(workspace)
    header, row = page.table("models")
    assert header[3:7] == ["AP", "95 %", "AP50", "AP on night"]
    assert row[3:7] == ["0.200", "0.150 to 0.270", "0.300", "0.110"]
    assert "0.150 to 0.270 (95 %)" in section(page, "state")


@pytest.mark.integration
def test_json_says_the_same(watched: Workspace) -> None:
    found = json.loads(report_json(watched))
    assert found["pool"]["unlabelled"] == 160
    assert [w["drifted"] for w in found["monitor"]["windows"]] == [True, True]
    assert found["models"][0]["evaluation"]["metrics"]["ap"] == 0.2
    assert found["next_command"]
