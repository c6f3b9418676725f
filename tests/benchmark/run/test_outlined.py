"""Benchmarks of a segmentation workspace: outlines in the sets, masks in the results; rules of counts."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs
from support.benchmark_specs import CONFIG, strategy_spec
from support.outlined_sets import write_outlined_set

from al_loop.benchmark.results.labelling_cost import LabellingCost
from al_loop.benchmark.results.report import report_of, write_report
from al_loop.benchmark.run import evaluation as run_evaluation
from al_loop.benchmark.run.context import BenchmarkContext, ContextFactory
from al_loop.benchmark.run.cycle_run import CycleRun
from al_loop.benchmark.run.evaluation import evaluate_model
from al_loop.benchmark.run.runner import Outcome
from al_loop.benchmark.run.trial import Row
from al_loop.benchmark.spec.spec import BenchmarkSpec
from al_loop.core.console import Silent
from al_loop.models import scoring
from al_loop.state.model_registry import Model
from al_loop.state.prediction_store import ShardStore
from al_loop.state.workspace import Workspace
from al_loop.structures.boxes import Boxes
from al_loop.structures.images import ImageFile

OUTLINED = structs.replace(CONFIG, task="segmentation")


@pytest.fixture
def spec(tmp_path: Path) -> BenchmarkSpec:
    made = strategy_spec(tmp_path)
    return replace(
        made,
        pool=write_outlined_set(tmp_path / "pool", 12, seed=1),
        validation=write_outlined_set(tmp_path / "val", 4, seed=2),
        tests={},
    )


def context_of(spec: BenchmarkSpec, home: Workspace, out: Path, config: Any = OUTLINED) -> BenchmarkContext:
    return ContextFactory(out, spec, config, home.root)()


def test_sets_have_outlines_and_results_depend_on_them(
    spec: BenchmarkSpec, workspace: Workspace, tmp_path: Path
) -> None:
    boxes = context_of(spec, workspace, tmp_path / "boxes", CONFIG)
    masks = context_of(spec, workspace, tmp_path / "masks")
    assert all(item.boxes.outlines is None for item in boxes.datasets.validation)
    assert [item.boxes.outlined.sum() for item in masks.datasets.validation] == [1] * 4
    assert masks.datasets.lines[-1] == (
        "validation: 4 images, 8 boxes, 4 of them with an outline, 0 images empty"
    )
    assert boxes.record["validation"] != masks.record["validation"]
    assert "task" not in boxes.record["settings"]
    assert masks.record["settings"]["task"] == "segmentation"
    assert masks.record["settings"]["metric"] == "mask_ap"
    assert "rule" not in masks.record
    other = context_of(replace(spec, rule="cordier"), workspace, tmp_path / "rule")
    assert other.record["rule"] == "cordier"


@pytest.mark.integration
def test_results_have_the_metrics_of_masks(
    spec: BenchmarkSpec, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model finds every second object, with the right mask or with a box that is too small."""

    def evaluated(context: BenchmarkContext, *, masks: bool) -> dict[str, Any]:
        truth = {item.image.id: item.boxes for item in context.datasets.validation}

        def found(name: str) -> Boxes:
            true = truth[name].take(truth[name].outlined)
            xyxy = true.xyxy.copy()
            xyxy[:, 2] -= 0 if masks else 15  # of 22 px
            return replace(
                true, xyxy=xyxy, scores=true.labels + 0.9, outlines=true.outlines if masks else None
            )

        predicted = {item.image.id: found(item.image.id) for item in context.datasets.validation}

        class Scored:
            def subset(self, ids: list[str]) -> Scored:
                return self

            def outlined_boxes(self, index: int, width: int, height: int) -> Boxes:
                return predicted[context.datasets.validation[index].image.id]

            def boxes_by_image(self) -> dict[str, Boxes]:
                return predicted

        monkeypatch.setattr(ShardStore, "load", lambda self: Scored())
        model = Model("m", None, "cycle", None, "0" * 64, "", folder=tmp_path)
        return evaluate_model(context, model, context.workspace.root / "run", Silent())["validation"]

    def score(*_: Any, **__: Any) -> list[ImageFile]:
        return []

    monkeypatch.setattr(scoring, "score", score)
    context = context_of(spec, workspace, tmp_path / "out")
    metrics = evaluated(context, masks=True)
    assert [metrics[name] for name in run_evaluation.MASK_COLUMNS] == pytest.approx([1.0] * 5)
    assert metrics["ap"] == pytest.approx(0.5)  # no nut is found
    assert (metrics["right"], metrics["missed"]) == (4, 4)
    assert "mask_ap" not in evaluated(context, masks=False)
    # A box of a third of the object finds it by any intersection.
    assert evaluated(context, masks=False)["right"] == 0
    by_cordier = context_of(replace(spec, rule="cordier"), workspace, tmp_path / "rule")
    assert evaluated(by_cordier, masks=False)["right"] == 4

    rows = [Row(CycleRun("scratch", "random", 0, 1, 0), labels=3, metrics={"validation": metrics})]
    outcome = Outcome(context.spec, context.workspace.config.classes, context.datasets, [], rows)
    report = report_of(outcome, LabellingCost())
    table, *_ = write_report(report, tmp_path)
    (line,) = csv.DictReader(table.read_text().splitlines())
    assert (line["mask_ap"], line["mean_dice"], line["ap"]) == ("1", "1", "0.5")
    plain = replace(outcome, rows=[replace(rows[0], metrics={"validation": evaluated(context, masks=False)})])
    assert "mask_ap" not in report_of(plain, LabellingCost()).columns
