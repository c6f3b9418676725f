"""Cycles of a segmentation workspace: masks decide, and are recorded and checked. The model is a fake."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from msgspec import structs
from support import fake_model
from support.factories import edited
from support.outlined_sets import for_outlines, write_outlined_set
from support.report_page import Page
from support.small_loop import small_loop

from al_loop.core.config import PromotionConfig
from al_loop.core.console import Progress, Silent
from al_loop.core.files import file_sha256, read_json, write_json
from al_loop.evaluation.measure import differ
from al_loop.images import repository
from al_loop.images.pool_labels import add_labelled
from al_loop.images.validation_sets import add_validation
from al_loop.loop.cycle_record import Cycle
from al_loop.loop.status import describe
from al_loop.loop.train_stages import train_stage
from al_loop.loop.verify import reproduce, verify
from al_loop.models import scoring
from al_loop.models.compare import compare_models
from al_loop.models.lineage import describe as describe_model
from al_loop.models.lineage import tree
from al_loop.models.promotion import evaluate_candidate
from al_loop.report.model_comparison import write_versus
from al_loop.report.write import report_json, write_report
from al_loop.state import model_registry
from al_loop.state.file_hashes import note_file, shards_in
from al_loop.state.model_registry import Model
from al_loop.state.workspace import Workspace
from al_loop.structures.boxes import Boxes
from al_loop.structures.images import ImageFile, Prediction
from al_loop.structures.masks import SIDE
from al_loop.structures.metrics import metrics_from_plain

ROOT = Path(__file__).parents[2]
Run = Callable[..., tuple[int, str, str]]


class SeeingModel:
    """Stands in for `models.scoring.score`: finds the boxes of the validation set, with full masks.

    left: pixels by which each model finds them too far to the left.
    """

    def __init__(self, workspace: Workspace, left: dict[str, float]) -> None:
        self.truth = {item.image.id: item.boxes for item in repository.validation(workspace)}
        self.left = left

    def __call__(
        self,
        workspace: Workspace,
        model: Model,
        images: Sequence[ImageFile],
        folder: Path,
        progress: Progress,
        *args: object,
        **options: object,
    ) -> list[object]:
        if "validation" not in folder.parts:
            return fake_model.score(workspace, model, images, folder, progress, *args, **options)
        store = shards_in(workspace, folder)
        if missing := store.missing(images):
            store.append([self._prediction(model.id, image.id) for image in missing])
        return []

    def _prediction(self, model: str, name: str) -> Prediction:
        true = self.truth[name]
        xyxy = true.xyxy.copy()
        xyxy[:, [0, 2]] = np.maximum(xyxy[:, [0, 2]] - self.left.get(model, 0.0), (0.0, 1.0))
        boxes = Boxes(xyxy, true.labels, np.linspace(0.9, 0.6, len(true)))
        masks = np.full((len(true), SIDE**2), 255, np.uint8)
        return Prediction(
            name, boxes, np.full((len(true), 3), 1 / 3, np.float32), np.zeros(16, np.float32), masks=masks
        )


@pytest.fixture
def outlined(workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A segmentation workspace with a validation set. Intervals are of few resamples, to save time."""
    monkeypatch.setattr("al_loop.evaluation.bootstrap.RESAMPLES", 40)
    monkeypatch.setattr("al_loop.evaluation.measure.differ", partial(differ, resamples=40))
    here = for_outlines(workspace)
    add_validation(here, write_outlined_set(tmp_path / "outlined", 4, seed=2))
    return here


@pytest.fixture
def finished(outlined: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A cycle whose candidate finds objects better than the model before it."""
    loop = small_loop(outlined, tmp_path, monkeypatch, judged=True, validation=False)
    monkeypatch.setattr(scoring, "score", SeeingModel(outlined, {"m0": 4.0}))
    return loop.run(cycles=1)


def changed(workspace: Workspace) -> list[str]:
    return [finding.text for finding in verify(workspace, 1) if finding.changed]


def texts(workspace: Workspace) -> list[str]:
    return [finding.text for finding in verify(workspace, 1)]


@pytest.mark.integration
def test_the_masks_of_a_cycle_are_shown_recorded_and_checked(finished: Workspace, run: Run) -> None:
    record = read_json(finished.cycle_dir(1) / "manifest.json")
    jsonschema.validate(record, json.loads((ROOT / "docs" / "manifest.schema.json").read_text()))
    before, after = record["metrics"]["before"]["masks"], record["metrics"]["after"]["masks"]
    assert before["outlines"] == after["outlines"] == 4
    assert before["ap"] < after["ap"]
    assert before["mean_dice"]["value"] < after["mean_dice"]["value"]
    assert record["reason"].startswith(f"mask AP {before['ap']:.3f} → {after['ap']:.3f}, +")
    assert record["outcome"] == "promoted"
    assert f"model       cycle-1, mask AP {after['ap']:.3f}, box AP 1.000" in describe(finished)
    assert any(
        line.startswith("* └ cycle-1") and "mask AP" in line and "box AP" in line for line in tree(finished)
    )
    shown = describe_model(finished)
    assert f"validation, masks: AP {after['ap']:.3f} (" in "\n".join(shown)
    assert f"validation, pixels: mean IoU {after['mean_iou']['value']:.3f} (" in "\n".join(shown)
    assert "  nut: no outline" in shown
    assert "  bolt: precision 1.000 (1.000 to 1.000), recall 1.000 (1.000 to 1.000)" in shown
    assert any(line.startswith("validation, minus m0: +") and line.endswith(" mask AP") for line in shown)
    stored = read_json(finished.model_dir("cycle-1") / "metrics.json")
    assert stored["masks"] == after

    assert changed(finished) == []
    checked = f"the metrics of cycle-1, mask AP {after['ap']:.3f}, AP50 "
    assert any(
        text.startswith(checked) and text.endswith(" of 4 outlines: as before") for text in texts(finished)
    )
    picks, *metrics = reproduce(finished, 1)
    assert picks.text == "the same 10 picks in the same order"
    assert [finding.text.partition(",")[0] for finding in metrics] == [
        "the metrics of m0",
        "the metrics of cycle-1",
    ]
    assert not any(finding.changed for finding in metrics)
    status, out, _ = run("-w", finished.root, "models", "compare", "cycle-1", "m0")
    assert status == 0
    assert out.splitlines()[1].startswith("  mask AP ")
    assert "  mean Dice " in out
    assert "  Dice of bolt " in out
    assert out.index("mask AP of bolt") < out.index("mean IoU") < out.index("  box AP50")


@pytest.mark.integration
def test_the_report_shows_the_masks_of_a_cycle(finished: Workspace, run: Run) -> None:
    page = Page(write_report(finished, finished.root / "report.html"))
    sections = {section.attributes["id"]: section for section in page.root.all("section")}
    masks = metrics_from_plain(read_json(finished.cycle_dir(1) / "manifest.json")["metrics"]["after"]).masks
    assert masks is not None
    assert f"Mask AP {masks.ap:.3f}" in sections["state"].text
    assert "AP of boxes 1.000" in sections["state"].text
    assert sections["curve"].all("h2")[0].text == "Mask AP over labelled images"
    assert page.table("curve")[1][3:5] == ["0.500", f"{masks.ap:.3f}"]
    assert sections["classes"].all("h2")[0].text == "Mask AP by class"
    assert [row[0] for row in page.table("masks")] == ["Class", "bolt", "nut"]
    dice = f"{masks.dice['bolt']:.3f}"
    assert page.table("masks")[1][1:] == [
        *(f"{masks.per_class['bolt']:.3f}", f"{masks.iou['bolt']:.3f}", dice),
        *["1.000 (1.000 to 1.000)"] * 2,
    ]
    assert page.table("masks")[2][1:4] == ["–", "–", "–"]
    (plot,) = sections["precision"].all("figure")  # no nut has an outline
    assert plot.all("figcaption")[0].text == "bolt, 4 objects"
    assert "Masks matched at an IoU of at least 0.5" in sections["precision"].text
    assert "Mean Dice" in page.table("models")[0]

    def counts(rule: str) -> dict[str, Any]:
        _, out, _ = run("-w", finished.root, "report", "--json", "--rule", rule)
        return dict(json.loads(out)["errors"])

    report = json.loads(report_json(finished))
    assert report["metric"] == "mask_ap"
    assert report["curves"][0]["found"]["masks"]
    assert report["curves"][0]["found"]["curves"]["bolt"]["recall"] == [0.25, 0.5, 0.75, 1.0]
    assert counts("cordier")["rule"] == "cordier"
    assert counts("cordier")["counts"] == counts("iou")["counts"] == report["errors"]["counts"]
    assert run("-w", finished.root, "report", "--rule", "faltings")[0] == 0
    assert "the missed ones include the misclassified" in (finished.root / "report.html").read_text()


@pytest.mark.integration
def test_metrics_that_the_predictions_do_not_give_are_a_change(finished: Workspace, tmp_path: Path) -> None:
    path = finished.cycle_dir(1) / "manifest.json"
    record = read_json(path)
    record["metrics"]["after"]["masks"]["mean_dice"]["value"] = 0.999
    write_json(path, record)
    note_file(finished, path, file_sha256(path))  # as if it had been written so
    (finding,) = changed(finished)
    assert finding.startswith("the metrics of cycle-1, mask AP ")
    assert ", mean Dice 0.999 of 4 outlines: changed, now mask AP " in finding
    assert [finding.changed for finding in reproduce(finished, 1)] == [False, False, True]

    def moved(data: dict[str, Any]) -> None:
        data["annotations"][0]["segmentation"][0][4] -= 3

    coco = edited(tmp_path / "outlined" / "coco.json", "moved.json", moved)
    add_validation(finished, coco, replace_labels=True)
    assert changed(finished) == []
    assert "the metrics of cycle-1: not compared, the validation set has changed since" in texts(finished)


@pytest.mark.integration
def test_a_setting_names_the_metric(
    outlined: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Boxes stay the same in the candidate while its masks get worse."""
    loop = small_loop(outlined, tmp_path, monkeypatch, judged=True, validation=False)
    seen = SeeingModel(outlined, {})
    score = seen._prediction

    def half(model: str, name: str) -> Prediction:
        found = score(model, name)
        if model == "m0" or found.masks is None:
            return found
        masks = found.masks.reshape(-1, SIDE, SIDE).copy()
        masks[:, SIDE // 3 :] = 0
        return replace(found, masks=masks.reshape(-1, SIDE**2))

    monkeypatch.setattr(seen, "_prediction", half)
    monkeypatch.setattr(scoring, "score", seen)
    finished = loop.run(cycles=1)
    assert model_registry.current_model(finished).id == "m0"
    tell = Silent()
    found = compare_models(finished, "cycle-1", "m0", "validation", tell)
    assert found.curves["m0"].masks
    assert next(iter(found.rows)) == "mask AP"
    config = structs.replace(finished.config, promotion=PromotionConfig(metric="box_ap"))
    boxes = finished.with_settings(config)
    candidate, current = (model_registry.get_model(boxes, name) for name in ("cycle-1", "m0"))
    by_boxes = evaluate_candidate(boxes, candidate, current, tell).decision
    by_masks = evaluate_candidate(finished, candidate, current, tell).decision
    assert by_boxes.promote
    assert by_boxes.reason.startswith("AP 1.000 → 1.000")
    assert not by_masks.promote
    assert by_masks.reason.startswith("mask AP ")
    assert next(iter(compare_models(boxes, "cycle-1", "m0", "validation", tell).rows)) == "box AP"


@pytest.mark.integration
def test_a_model_without_masks_is_compared_by_its_boxes(
    outlined: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = small_loop(outlined, tmp_path, monkeypatch, judged=True, validation=False)
    seen = SeeingModel(outlined, {"m0": 4.0})
    score = seen._prediction

    def of_boxes(model: str, name: str) -> Prediction:
        found = score(model, name)
        return replace(found, masks=None) if model == "m0" else found

    monkeypatch.setattr(seen, "_prediction", of_boxes)
    monkeypatch.setattr(scoring, "score", seen)
    finished = loop.run(cycles=1)
    record = read_json(finished.cycle_dir(1) / "manifest.json")
    assert record["reason"].startswith("box AP ")
    assert record["outcome"] == "promoted"
    assert "masks" not in record["metrics"]["before"]
    assert changed(finished) == []
    found = compare_models(finished, "cycle-1", "m0", "validation", Silent())
    assert [curves.masks for curves in found.curves.values()] == [False, False]
    assert next(iter(found.rows)) == "AP"
    page = Page(write_versus(finished, found))
    assert [figure.text for figure in page.root.all("figcaption")][:2] == [
        "bolt, 4 objects",
        "nut, 4 objects",
    ]


@pytest.mark.integration
def test_outlines_and_the_metric_are_inputs_of_a_training(
    outlined: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_labelled(outlined, write_outlined_set(tmp_path / "labelled", 2, seed=3))
    loop = small_loop(outlined, tmp_path, monkeypatch, judged=True, validation=False)
    monkeypatch.setattr(scoring, "score", SeeingModel(outlined, {}))
    here = loop.run(cycles=1)
    # The labels of the cycle have the outlines of the file, and a later change of one is found.
    snapshot = read_json(here.cycle_dir(1) / "pull" / "labels.json")
    assert sum(isinstance(row[-1], dict) for row in snapshot) == 2
    assert changed(here) == []
    assert not any("people have changed" in text for text in texts(here))
    drawn_in = "outlines IS NOT NULL AND image_id IN (SELECT id FROM images WHERE role = 'pool')"
    row = here.store.rows(f"SELECT image_id, outlines FROM labels WHERE {drawn_in}")[0]
    edit = "UPDATE labels SET outlines = ? WHERE image_id = ?"
    here.store.execute(edit, "[[[1, 2, 9, 2, 9, 9]], null]", row["image_id"])
    assert f"people have changed 1 of these labels since: {row['image_id'][:12]}" in texts(here)
    here.store.execute(edit, row["outlines"], row["image_id"])
    cycle = Cycle(1, 10, model_registry.get_model(here, "m0"), here.config)
    boxes = here.with_settings(structs.replace(here.config, task="detection"))
    labels = repository.labelled(here)

    def trainings(workspace: Workspace, images: list[Any]) -> int:
        before = len(loop.images)
        train_stage(workspace, cycle, images, Silent())
        return len(loop.images) - before

    assert trainings(here, labels) == 0
    by_boxes = structs.replace(here.config, promotion=PromotionConfig(metric="box_ap"))
    assert trainings(here.with_settings(by_boxes), labels) == 1
    drawn = [
        replace(item, boxes=replace(item.boxes, outlines=([[1.0, 2, 9, 2, 9, 9]],) * len(item.boxes)))
        for item in labels
    ]
    assert trainings(here, drawn) == 1
    assert trainings(here, drawn) == 0
    # A training on boxes does not depend on outlines.
    assert trainings(boxes, labels) == 1
    assert trainings(boxes, drawn) == 0
