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
from support.factories import edited

from al_loop.benchmark.results.labelling_cost import LabellingCost
from al_loop.benchmark.results.report import report_of, write_report
from al_loop.benchmark.spec.spec import BenchmarkSpec, MixGrid
from al_loop.core.errors import ConfigError
from al_loop.state.workspace import Workspace

REPLAY = "replay/real-0-healthy-2/rendered-4-healthy-1/seed-0"
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


def without_boxes(coco: Path, count: int) -> Path:
    """Return a copy of a COCO file whose first images show no object."""

    def change(data: dict[str, Any]) -> None:
        data["annotations"] = [a for a in data["annotations"] if a["image_id"] > count]

    return edited(coco, "healthy.json", change)


@pytest.mark.integration
def test_healthy_images_are_drawn_apart(
    spec: BenchmarkSpec, workspace: Workspace, tmp_path: Path, trainings: FakeTrainings
) -> None:
    """Three of the eight photographs are healthy, and two of the six rendered images."""
    assert isinstance(spec.grid, MixGrid)
    spec = change(
        spec,
        pool=without_boxes(spec.pool, 3),
        rendered=(without_boxes(spec.grid.rendered[0], 2),),
        schedules=("joint", "pretrain", "replay"),
        real=("0", "100%"),
        synthetic=("0", "4"),
        healthy=("0", "2"),
        healthy_synthetic=("1",),
    )
    outcome, _ = run(tmp_path / "out", spec, workspace)
    found = {t.name: (t.images, t.rendered, t.empty) for t in trainings.trained}
    assert found == {
        "joint/real-5-healthy-0/rendered-0-healthy-1/seed-0": (6, 1, 1),
        "joint/real-5-healthy-2/rendered-0-healthy-1/seed-0": (8, 1, 3),
        "rendered-only/real-0-healthy-0/rendered-4-healthy-1/seed-0": (5, 5, 1),
        # Photographs without objects teach nothing by themselves: only together with rendered images.
        "joint/real-0-healthy-2/rendered-4-healthy-1/seed-0": (7, 5, 3),
        REPLAY: (4, 2, found[REPLAY][2]),
        "pretrained/rendered-4-healthy-1/seed-0": (5, 5, 1),
        "joint/real-5-healthy-0/rendered-4-healthy-1/seed-0": (10, 5, 1),
        "pretrain/real-5-healthy-0/rendered-4-healthy-1/seed-0": (5, 0, 0),
        "replay/real-5-healthy-0/rendered-4-healthy-1/seed-0": (10, 5, 1),
        "joint/real-5-healthy-2/rendered-4-healthy-1/seed-0": (12, 5, 3),
        "pretrain/real-5-healthy-2/rendered-4-healthy-1/seed-0": (7, 0, 2),
        "replay/real-5-healthy-2/rendered-4-healthy-1/seed-0": (12, 5, 3),
    }
    table, _, page = write_report(report_of(outcome, LabellingCost()), tmp_path / "out")
    with table.open() as file:
        rows = [row for row in csv.DictReader(file) if row["set"] == "other"]
    assert len(rows) == len(outcome.rows) == 11
    axes = ("real", "healthy", "synthetic", "healthy_synthetic")
    assert ("0", "2", "4", "1") in {tuple(row[name] for name in axes) for row in rows}
    assert "joint, 2 healthy photographs, 1 healthy rendered images" in page.read_text()
    trainings.trained.clear()
    more = change(spec, healthy=("0", "2", "100%"), schedules=("joint", "pretrain", "replay", "curriculum"))
    run(tmp_path / "out", more, workspace, resume=True)
    assert "joint/real-5-healthy-3/rendered-4-healthy-1/seed-0" in (names := set(trainings.names()))
    assert names & set(found) == {"pretrained/rendered-4-healthy-1/seed-0"}
    assert not [name for name in names if name.startswith("curriculum/real-0")]


@pytest.mark.integration
def test_every_cell_of_a_total_has_as_many_images(
    spec: BenchmarkSpec, workspace: Workspace, tmp_path: Path, trainings: FakeTrainings
) -> None:
    fractions = ("0", "25%", "50%", "100%")
    spec = change(spec, total=6, real=(), synthetic=fractions, schedules=("joint", "curriculum"))
    outcome, _ = run(tmp_path / "out", spec, workspace)
    assert [(row.run.schedule, row.run.real, row.run.synthetic) for row in outcome.rows] == [
        *[("real only", 6, 0), ("joint", 4, 2), ("curriculum", 4, 2)],
        *[("joint", 3, 3), ("curriculum", 3, 3), ("rendered only", 0, 6)],
    ]
    joint, curriculum = trainings.trained[1:3]
    assert (joint.images, joint.rendered, joint.share) == (6, 2, None)
    assert (curriculum.images, curriculum.beside, curriculum.share) == (4, 2, (1.0, 0.0))
    summary = "\n".join(report_of(outcome, LabellingCost()).summary)
    assert "4 photographs, 2 rendered, joint: " in summary
    assert "AP over 6 photographs alone" in summary


@pytest.mark.integration
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"healthy": ("2",)}, r"--healthy 2: expected images without boxes .* got none"),
        ({"healthy_synthetic": ("0", "50%")}, r"--healthy-synthetic 0,50%: expected images without boxes"),
        ({"total": 4}, r"--total: photographs fill what --synthetic leaves"),
        ({"total": 9, "real": ()}, r"at most 8 photographs and 6 rendered images in a cell, got 9 and 6"),
        ({"total": 4, "real": (), "synthetic": ()}, r"--synthetic: expected numbers .* shares of --total"),
    ],
)
def test_what_the_sets_cannot_give_is_refused(
    spec: BenchmarkSpec, workspace: Workspace, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        run(tmp_path / "out", change(spec, **changes), workspace)


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


@pytest.mark.slow
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
    out, every = tmp_path / "out", ("pretrain", "joint", "curriculum")
    outcome, _ = run(
        out, change(spec, real=("3",), synthetic=("5",), schedules=every, iterations=5), workspace
    )
    assert not [row.failure for row in outcome.rows if row.failure]
    assert {name: steps.count(name) for name in steps} == {
        "pretrained": 2,
        "pretrain": 3,
        "joint": 5,
        "curriculum": 5,
    }
    table, _, page = write_report(report_of(outcome, LabellingCost()), out)
    with table.open() as file:
        assert all(float(row["seconds_train"]) > 0 and row["ap"] for row in csv.DictReader(file))
    text = page.read_text()
    assert text.count("<svg") == 3
    assert "One seed." in text
    assert "http" not in text.replace("http-equiv", "")
