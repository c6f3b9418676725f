"""Cycles of strategies side by side: what is trained, and what is kept."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from msgspec import structs
from support.benchmark_specs import (
    CONFIG,
    FakeTrainings,
    change,
    failing,
    fake_trainings,
    run,
    strategy_spec,
)
from support.factories import CLASSES, write_checkpoint

from al_loop.benchmark.results.labelling_cost import LabellingCost
from al_loop.benchmark.results.learning_curves import LearningCurves
from al_loop.benchmark.results.report import report_of
from al_loop.benchmark.results.strategy_tables import ap_table
from al_loop.benchmark.run import cycle_run
from al_loop.benchmark.run.runner import Outcome
from al_loop.benchmark.spec.datasets import read_datasets
from al_loop.benchmark.spec.spec import BenchmarkSpec, StrategyGrid
from al_loop.cli import cli
from al_loop.core.files import read_json
from al_loop.core.training_config import SelfTrainingConfig
from al_loop.evaluation import model_quality
from al_loop.evaluation.model_quality import quality_for
from al_loop.models import model_training
from al_loop.state.prediction_store import ShardStore
from al_loop.state.workspace import Workspace, init_workspace, open_workspace
from al_loop.structures.boxes import Boxes
from strategies import STRATEGIES, Calibration


@pytest.fixture
def spec(tmp_path: Path) -> BenchmarkSpec:
    return strategy_spec(tmp_path)


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> FakeTrainings:
    return fake_trainings(monkeypatch)


def curves_of(outcome: Outcome) -> LearningCurves:
    grid = outcome.spec.grid
    assert isinstance(grid, StrategyGrid)
    return LearningCurves(outcome, grid, LabellingCost())


@pytest.mark.integration
def test_trials_share_their_first_images_and_no_run_is_done_twice(
    spec: BenchmarkSpec, workspace: Workspace, tmp_path: Path, trainings: FakeTrainings
) -> None:
    out = tmp_path / "out"
    trainings.fail = lambda name: KeyboardInterrupt() if "dbal" in name else None
    with pytest.raises(KeyboardInterrupt):
        run(out, spec, workspace)
    shared, second = "scratch/at-random/seed-0/cycle-1", "seed-0/cycle-2"
    assert trainings.names() == [shared, f"scratch/random/{second}"]
    trainings.fail = lambda name: None
    outcome, _ = run(out, spec, workspace, resume=True)
    assert trainings.names() == [f"scratch/dbal/{second}"]
    rows = {(row.run.strategy, row.run.cycle): row for row in outcome.rows}
    assert set(rows) == {("random", 1), ("random", 2), ("dbal", 1), ("dbal", 2)}
    assert rows["random", 1].picked == rows["dbal", 1].picked
    for strategy in ("random", "dbal"):
        assert len({*rows[strategy, 1].picked, *rows[strategy, 2].picked}) == rows[strategy, 2].labels == 6
        assert set(rows[strategy, 2].metrics or {}) == {"validation", "other"}
    again, _ = run(out, spec, workspace, resume=True)
    assert trainings.names() == []
    assert again.rows == outcome.rows
    # Images that were picked at random for both are no picks of either.
    assert curves_of(outcome).picked("scratch", "dbal", 0) == list(rows["dbal", 2].picked)


def test_weights_that_no_later_cycle_begins_with_are_deleted(
    spec: BenchmarkSpec, workspace: Workspace, tmp_path: Path, trainings: FakeTrainings
) -> None:
    run(tmp_path / "out", change(spec, cycles=3, strategies=("random",)), workspace)
    runs = tmp_path / "out" / "runs"
    names = {path.parent.relative_to(runs).as_posix() for path in runs.rglob("weights.pth")}
    assert names == {"scratch/at-random/seed-0/cycle-1", "scratch/random/seed-0/cycle-3"}


@pytest.mark.integration
def test_a_training_that_fails_ends_its_trial_alone(
    spec: BenchmarkSpec, workspace: Workspace, tmp_path: Path, trainings: FakeTrainings
) -> None:
    trainings.fail = failing("dbal")
    outcome, reporter = run(tmp_path / "out", change(spec, cycles=3), workspace)
    assert [(r.run.strategy, r.run.cycle) for r in outcome.rows if r.failure] == [("dbal", 2)]
    assert len(outcome.rows) == 5
    failure = "scratch/dbal/seed-0/cycle-2 failed: the loss is nan"
    assert f"  {failure}" in reporter.lines
    summary = report_of(outcome, LabellingCost()).summary
    assert "failed: scratch/dbal/seed-0/cycle-2: the loss is nan" in summary
    trainings.fail = lambda name: None
    mended, _ = run(tmp_path / "out", change(spec, cycles=3), workspace, resume=True)
    assert not [row for row in mended.rows if row.failure]


@pytest.mark.integration
def test_from_initial_trains_each_cycle_from_the_initial_model(
    spec: BenchmarkSpec, workspace: Workspace, tmp_path: Path, trainings: FakeTrainings
) -> None:
    for from_initial in (False, True):
        one = change(spec, strategies=("random",), from_initial=from_initial)
        run(tmp_path / f"out-{from_initial}", one, workspace)
    began = [training.began_with for training in trainings.trained]
    assert began == [None, "scratch/at-random/seed-0/cycle-1", None, None]


@pytest.mark.integration
def test_what_is_labelled_may_be_picked_again(
    spec: BenchmarkSpec, workspace: Workspace, tmp_path: Path, trainings: FakeTrainings
) -> None:
    """U with L: `random` picks from all twelve, so its labels by cycle differ from those of the others."""
    config = structs.replace(CONFIG, cycle=structs.replace(CONFIG.cycle, candidates="all"))
    outcome, _ = run(tmp_path / "out", change(spec, k=6, seeds=2), workspace, config)
    curves = curves_of(outcome)
    rows = [row for strategy in curves.strategies for row in curves.final_rows("scratch", strategy)]
    assert all(row.labels == 6 + len(row.picked) for row in rows)
    assert any(len(row.picked) < 6 for row in rows), "some of the picks are labelled already"
    labels = sorted({row.labels for row in rows})
    header = ap_table(curves, "scratch")[0]
    assert header == ["strategy", "6 labels", f"cycle 2, {labels[0]}–{labels[-1]} labels", "area"]
    assert all(len(curves.areas("scratch", strategy)) == 2 for strategy in curves.strategies)


@pytest.mark.train
def test_early_stop_ends_a_training_that_does_not_improve(
    spec: BenchmarkSpec, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Few steps leave AP at about 0, with patience for one validation without a gain."""
    steps: list[tuple[int, int]] = []
    real = model_training.train_model

    def spy(*args: Any, **rest: Any) -> Any:
        output = real(*args, **rest)
        steps.append((args[4].steps, output["steps"]))
        return output

    monkeypatch.setattr("al_loop.models.model_training.train_model", spy)
    hasty = structs.replace(CONFIG, pretrain=structs.replace(CONFIG.pretrain, patience=1, batch_size=4))
    for early_stop in (False, True):
        one = change(spec, strategies=("random",), batches=(3,), iterations=6, early_stop=early_stop)
        run(tmp_path / f"out-{early_stop}", one, workspace, hasty)
    (fixed, all_of_it), (most, done) = steps
    assert (fixed, all_of_it, most) == (6, 6, 6)
    assert 1 < done < most


@pytest.mark.train
def test_trainings_learn_from_the_rest_of_the_pool(
    spec: BenchmarkSpec, workspace: Workspace, tmp_path: Path
) -> None:
    """Weak models: they learn soft targets. The better of both models is evaluated."""
    settings = structs.replace(CONFIG, self_training=SelfTrainingConfig(mode="on", targets="soft"))
    one = change(spec, strategies=("random",), batches=(3,), iterations=3)
    run(tmp_path / "out", one, workspace, settings)
    outputs = [read_json(path)["output"] for path in (tmp_path / "out").rglob("batch-3/stage.json")]
    assert outputs
    for output in outputs:
        assert output["self_training"]["unlabelled"] == len(read_json(spec.pool)["images"]) - 3
        assert output["self_training"]["differences"].keys() == {"validation"}


@pytest.fixture
def home(spec: BenchmarkSpec, tmp_path: Path) -> Workspace:
    """A workspace with a model of random weights."""
    root = init_workspace(tmp_path / "home", CLASSES, template="demo").root
    text = (root / "al-loop.toml").read_text()
    (root / "al-loop.toml").write_text(
        text.replace('config = "lite"', 'config = "small"\nimage_size = [96, 64]')
    )
    weights = str(write_checkpoint(tmp_path / "weights.pth"))
    for words in (["pool", "add-val", str(spec.validation)], ["models", "import", weights]):
        result = CliRunner().invoke(cli, ["-w", str(root), *words])
        assert result.exit_code == 0, result.output
    return open_workspace(root)


@pytest.mark.train
def test_the_command_writes_a_table_and_a_page(spec: BenchmarkSpec, home: Workspace, tmp_path: Path) -> None:
    """With real trainings, from a model, in single cycles."""
    out = tmp_path / "out"
    command = [
        "-w", str(home.root), "benchmark", "--data", str(spec.pool), "--val", str(spec.validation),
        "--test", f"other={spec.tests['other']}", "--strategies", "random, entropy", "--batch", "2,5",
        "--seeds", "1", "--iterations", "3", "--out", str(out),
    ]  # fmt: skip
    result = CliRunner().invoke(cli, command)
    assert result.exit_code == 0, result.output
    assert "2 labels" in result.output
    page = (out / "report.html").read_text()
    assert "one cycle of 2, 5 images" in page
    assert page.count("<svg") == 3
    assert page.count("data:image/jpeg") == 4  # two picks shown of each strategy
    assert "http" not in page.replace("http-equiv", "")
    with (out / "results.csv").open() as file:
        table = list(csv.DictReader(file))
    assert len(table) == 12  # the initial model and two batches, two strategies, two sets
    for row in table:
        truth = sum(int(row[name]) for name in ("right", "misclassified", "missed"))
        assert truth == 2 * (4 if row["set"] == "validation" else 3), "each true box is in one of three"
    minutes = (10 * int(table[-1]["labels"]) + 7 * int(table[-1]["boxes"])) / 60
    assert float(table[-1]["minutes"]) == pytest.approx(minutes, abs=0.06)
    assert float(table[-1]["seconds_train"]) > 0
    assert json.loads((out / "results.json").read_text())["runs"][-1]["picked"]


@pytest.mark.train
def test_strategies_are_given_the_quality_of_the_model(
    spec: BenchmarkSpec,
    home: Workspace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    trainings: FakeTrainings,
) -> None:
    """Those of the initial model in the first cycle, of the first cycle's model in the second."""
    given: list[Any] = []
    real = cycle_run.pick

    def spy(*args: Any) -> Any:
        given.append((args[-1].count_r2, args[-1].calibration))
        return real(*args)

    def made_up(_: Any, predicted: dict[str, Boxes], __: Any) -> Calibration:
        """Return a calibration that no other predictions have: too few boxes are right for a real one."""
        total = sum(float(boxes.xyxy.sum()) for boxes in predicted.values())
        return Calibration(1.0, (0.0, 0.0), 0.9, total, 0.0)

    monkeypatch.setattr(cycle_run, "pick", spy)
    monkeypatch.setattr(model_quality, "calibration_of", made_up)
    coco = json.loads(spec.validation.read_text())
    del coco["annotations"][0]  # else all images have as many
    spec.validation.write_text(json.dumps(coco))
    one = change(spec, strategies=("coverage", "calibrated", "random"), starts={"m0": "import-1"})
    run(tmp_path / "out", one, home, home.config)
    runs = tmp_path / "out" / "runs" / "m0"
    validation = read_datasets(spec.pool, spec.validation, {}, CLASSES).validation

    def quality(strategy: str, name: str) -> tuple[Any, Any]:
        predicted = ShardStore(runs / name / "predictions" / "validation").load().boxes_by_image()
        found = quality_for(STRATEGIES[strategy], validation, predicted, CLASSES)
        return found.count_r2, found.calibration

    counted = [quality("coverage", name) for name in ("initial", "coverage/seed-0/cycle-1")]
    calibrated = [quality("calibrated", name) for name in ("initial", "calibrated/seed-0/cycle-1")]
    assert all(count_r2 is not None for count_r2, _ in counted)
    assert len(set(calibrated)) == 2
    assert given == [*counted, *calibrated, (None, None), (None, None)]
