"""`al-loop benchmark --mix`: which cells are trained, on what, and what is kept."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
from support.benchmark_specs import (
    FakeTrainings,
    change,
    failing,
    fake_trainings,
    mix_spec,
    run,
)

from al_loop.benchmark.results.labelling_cost import LabellingCost
from al_loop.benchmark.results.report import report_of, write_report
from al_loop.benchmark.spec.spec import BenchmarkSpec
from al_loop.state.workspace import Workspace

PRETRAINED = ("pretrained/rendered-6/seed-0", 6, 6, None, False)


@pytest.fixture
def spec(tmp_path: Path) -> BenchmarkSpec:
    return mix_spec(tmp_path)


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> FakeTrainings:
    return fake_trainings(monkeypatch)


@pytest.mark.integration
def test_a_grid_is_trained_once_and_grows(
    spec: BenchmarkSpec, workspace: Workspace, tmp_path: Path, trainings: FakeTrainings
) -> None:
    out = tmp_path / "out"

    def trained() -> list[tuple[Any, ...]]:
        found = [(t.name, t.images, t.rendered, t.began_with, t.frozen) for t in trainings.trained]
        trainings.trained.clear()
        return found

    first, _ = run(out, spec, workspace)
    assert trained() == [
        ("real-only/real-4/rendered-0/seed-0", 4, 0, None, False),
        ("rendered-only/real-0/rendered-6/seed-0", 6, 6, None, False),
        PRETRAINED,
        ("pretrain/real-4/rendered-6/seed-0", 4, 0, PRETRAINED[0], False),
        ("joint/real-4/rendered-6/seed-0", 10, 6, None, False),
    ]
    cells = [(row.run.schedule, row.run.real, row.run.synthetic) for row in first.rows]
    assert cells == [("real only", 4, 0), ("rendered only", 0, 6), ("pretrain", 4, 6), ("joint", 4, 6)]
    assert all(set(row.metrics or {}) == {"validation", "other"} for row in first.rows)
    assert not list(out.rglob("weights.pth"))
    more = change(spec, schedules=("pretrain", "joint", "replay-frozen"))
    grown, _ = run(out, more, workspace, resume=True)
    # The pretrained weights were deleted: they are trained again, for the new schedule alone.
    assert trained() == [
        PRETRAINED,
        ("replay-frozen/real-4/rendered-6/seed-0", 8, 4, PRETRAINED[0], True),
    ]
    assert [row for row in grown.rows if row.run.schedule != "replay-frozen"] == first.rows
    again, _ = run(out, more, workspace, resume=True)
    assert trained() == []
    assert again.rows == grown.rows


@pytest.mark.integration
def test_a_training_that_fails_leaves_the_other_cells(
    spec: BenchmarkSpec, workspace: Workspace, tmp_path: Path, trainings: FakeTrainings
) -> None:
    trainings.fail = failing("pretrain/")
    outcome, reporter = run(tmp_path / "out", spec, workspace)
    assert [row.run.schedule for row in outcome.rows if row.failure] == ["pretrain"]
    assert outcome.rows[-1].run.schedule == "joint"
    failure = "pretrain/real-4/rendered-6/seed-0"
    assert f"  {failure} failed: the loss is nan" in reporter.lines
    report = report_of(outcome, LabellingCost())
    assert f"failed: {failure}: the loss is nan" in report.summary
    table, _, page = write_report(report, tmp_path / "out")
    assert f"Failed trials.</strong> {failure}: the loss is nan." in page.read_text()
    with table.open() as file:
        rows = [row for row in csv.DictReader(file) if row["failure"]]
    assert [(row["schedule"], row["ap"], row["seconds_train"]) for row in rows] == [("pretrain", "", "")]


@pytest.mark.train
def test_every_schedule_takes_as_many_steps(
    spec: BenchmarkSpec, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Real trainings; an odd number of steps is divided without a loss. The page shows the results."""
    from al_loop.detector.training.hooks import ReportProgress

    steps: list[str] = []
    real = ReportProgress.after_train_iter

    def count(self: Any, runner: Any, *args: Any, **rest: Any) -> None:
        steps.append(Path(runner.work_dir).as_posix().partition("/runs/")[2].split("/")[0])
        real(self, runner, *args, **rest)

    monkeypatch.setattr(ReportProgress, "after_train_iter", count)
    out = tmp_path / "out"
    outcome, _ = run(out, change(spec, real=("3",), synthetic=("5",), iterations=5), workspace)
    assert not [row.failure for row in outcome.rows if row.failure]
    assert {name: steps.count(name) for name in steps} == {"pretrained": 2, "pretrain": 3, "joint": 5}
    table, _, page = write_report(report_of(outcome, LabellingCost()), out)
    with table.open() as file:
        assert all(float(row["seconds_train"]) > 0 and row["ap"] for row in csv.DictReader(file))
    text = page.read_text()
    assert text.count("<svg") == 2
    assert "One seed." in text
    assert "http" not in text.replace("http-equiv", "")
