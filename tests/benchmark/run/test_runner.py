"""`al-loop benchmark` on real parts, small: what it runs, and what it keeps."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner
from support.benchmark_specs import CONFIG, run, small_question
from support.factories import CLASSES, write_checkpoint

from al_loop.benchmark.results.labelling_cost import Pace
from al_loop.benchmark.results.summary import Results
from al_loop.benchmark.results.tables import summary, table, write_files
from al_loop.benchmark.run import cycle_run
from al_loop.benchmark.run.evaluation import counting
from al_loop.benchmark.run.runner import Question, run_benchmark
from al_loop.benchmark.spec.datasets import read_sets
from al_loop.cli import cli
from al_loop.core.console import Silent
from al_loop.core.errors import TrainingError
from al_loop.state.workspace import Workspace, init_workspace, open_workspace


@pytest.fixture
def question(tmp_path: Path) -> Question:
    return small_question(tmp_path)


@pytest.mark.train
def test_chains_share_their_first_images_and_are_never_run_twice(
    question: Question, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[str] = []
    real = cycle_run.service.train_model

    def spy(workspace: Any, folder: Path, *rest: Any) -> Any:
        trained.append(folder.as_posix())
        if len(trained) == 2:
            raise KeyboardInterrupt
        return real(workspace, folder, *rest)

    monkeypatch.setattr(cycle_run.service, "train_model", spy)
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        run(out, question)
    outcome, _ = run(out, question, resume=True)
    # The first cycle once for both strategies; a second for each, one of which was interrupted.
    assert len(trained) == 4
    rows = {(row.strategy, row.cycle): row for row in outcome.rows}
    assert set(rows) == {("random", 1), ("random", 2), ("dbal", 1), ("dbal", 2)}
    assert rows["random", 1].picked == rows["dbal", 1].picked
    for strategy in ("random", "dbal"):
        both = rows[strategy, 1].picked + rows[strategy, 2].picked
        assert len(set(both)) == 6
        assert rows[strategy, 2].labels == 6
        assert set(rows[strategy, 2].judged or {}) == {"validation", "other"}
    again, _ = run(out, question, resume=True)
    assert len(trained) == 4
    assert again.rows == outcome.rows
    results = Results(outcome, Pace(10, 7))
    data, plain = write_files(results, out)
    with data.open() as file:
        table = list(csv.DictReader(file))
    assert len(table) == 8  # four points, two sets
    assert float(table[0]["minutes"]) == pytest.approx(
        (10 * int(table[0]["labels"]) + 7 * int(table[0]["boxes"])) / 60, abs=0.06
    )
    assert json.loads(plain.read_text())["points"][0]["picked"]
    for row in table:
        truth = sum(int(row[name]) for name in ("right", "misclassified", "missed"))
        assert truth == 2 * (4 if row["set"] == "validation" else 3), "each true box is in one of three"
    assert any("dbal − random" in line and "one seed" in line for line in summary(results))
    # What was drawn by lot for both is no pick of either.
    assert results.picked("scratch", "dbal", 0) == list(rows["dbal", 2].picked)
    # Weights that no later cycle begins with are gone.
    assert not list((out / "units/scratch/dbal/seed-0/cycle-1").glob("*.pth"))
    assert list((out / "units/scratch/dbal/seed-0/cycle-2").glob("*.pth"))


@pytest.mark.train
def test_a_training_that_fails_is_a_hole_and_the_rest_goes_on(
    question: Question, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = cycle_run.service.train_model

    def break_dbal(workspace: Any, folder: Path, *rest: Any) -> Any:
        if "dbal" in folder.as_posix():
            raise TrainingError("the loss is nan")
        return real(workspace, folder, *rest)

    monkeypatch.setattr(cycle_run.service, "train_model", break_dbal)
    outcome, told = run(tmp_path / "out", question)
    holes = [row for row in outcome.rows if row.hole]
    assert [(row.strategy, row.cycle) for row in holes] == [("dbal", 2)]
    assert len(outcome.rows) == 4
    assert any("dbal" in line and "the loss is nan" in line for line in told.lines)
    assert any(line.startswith("hole: scratch/dbal") for line in summary(Results(outcome, Pace(10, 7))))
    monkeypatch.setattr(cycle_run.service, "train_model", real)
    mended, _ = run(tmp_path / "out", question, resume=True)
    assert not [row for row in mended.rows if row.hole]


@pytest.mark.train
@pytest.mark.parametrize(
    "executor",
    [
        pytest.param({"jobs": 2}, id="processes"),
        pytest.param({"ray": "local", "jobs": 1}, id="ray", marks=pytest.mark.slow),
    ],
)
def test_chains_side_by_side_give_the_same(
    question: Question, tmp_path: Path, executor: dict[str, Any]
) -> None:
    question = replace(question, k=2)
    alone, _ = run(tmp_path / "alone", question)
    beside = run_benchmark(
        tmp_path / "beside",
        question,
        CONFIG,
        None,
        Silent(),
        resume=False,
        **executor,
    )
    for one, other in zip(alone.rows, beside.rows, strict=True):
        assert (one.strategy, one.cycle, one.labels) == (other.strategy, other.cycle, other.labels)
        # With fewer threads sums are rounded otherwise: what a strategy reads of scores may differ.
        assert one.picked == other.picked or (one.strategy, one.cycle) == ("dbal", 2)
        assert other.judged


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> list[tuple[bool, int, int]]:
    """Of each training: whether it began with a model, epochs asked for, epochs done."""
    seen: list[tuple[bool, int, int]] = []
    real = cycle_run.service.train_model

    def spy(
        workspace: Any, folder: Path, start: Any, training: Any, judged: Any, settings: Any, *rest: Any
    ) -> Any:
        done = real(workspace, folder, start, training, judged, settings, *rest)
        seen.append((start is not None, settings.epochs, done["epochs"]))
        return done

    monkeypatch.setattr(cycle_run.service, "train_model", spy)
    return seen


@pytest.mark.train
def test_anew_begins_each_training_from_the_start(
    question: Question, tmp_path: Path, trainings: list[tuple[bool, int, int]]
) -> None:
    question = replace(question, strategies=("random",), iterations=2)
    run(tmp_path / "on", question)
    assert [began for began, *_ in trainings] == [False, True]
    trainings.clear()
    run(tmp_path / "anew", replace(question, anew=True))
    assert [began for began, *_ in trainings] == [False, False]


@pytest.mark.train
def test_an_early_stop_ends_a_training_that_no_longer_gains(
    question: Question, tmp_path: Path, trainings: list[tuple[bool, int, int]]
) -> None:
    """One step an epoch leaves AP at about 0, with patience for one validation without a gain."""
    question = replace(question, strategies=("random",), batches=(3,), iterations=6)
    hasty = msgspec.structs.replace(CONFIG, pretrain=msgspec.structs.replace(CONFIG.pretrain, patience=1))
    for early in (False, True):
        asked = replace(question, early=early)
        run_benchmark(tmp_path / f"early-{early}", asked, hasty, None, Silent(), resume=False)
    (_, fixed, all_of_it), (_, most, done) = trainings
    assert (fixed, all_of_it, most) == (1, 1, 6)
    assert 1 < done < most


@pytest.mark.train
def test_what_is_labelled_may_be_picked_again(question: Question, tmp_path: Path) -> None:
    """U with L: `random` draws from all twelve, so that its labels by seed and cycle are not those of the others."""
    config = msgspec.structs.replace(CONFIG, cycle=msgspec.structs.replace(CONFIG.cycle, candidates="all"))
    asked = replace(question, k=6, iterations=2, seeds=2)
    outcome = run_benchmark(tmp_path / "out", asked, config, None, Silent(), resume=False)
    results = Results(outcome, Pace())
    ends = [row for strategy in asked.strategies for row in results.ends("scratch", strategy)]
    assert all(row.labels == 6 + len(row.picked) for row in ends)
    assert any(len(row.picked) < 6 for row in ends), "some of what was drawn has labels already"
    labels = sorted({row.labels for row in ends})
    assert len(labels) > 1
    head = table(results, "scratch")[0]
    assert head == ["strategy", "6 labels", f"cycle 2, {labels[0]}–{labels[-1]} labels", "area"]
    assert all(len(results.areas("scratch", strategy)) == 2 for strategy in asked.strategies)


@pytest.fixture
def home(question: Question, tmp_path: Path) -> Workspace:
    """A workspace with a model of random weights."""
    root = init_workspace(tmp_path / "home", CLASSES, template="demo").root
    text = (root / "al-loop.toml").read_text()
    (root / "al-loop.toml").write_text(
        text.replace('config = "small"', 'config = "small"\nimage_size = [96, 64]')
    )
    weights = str(write_checkpoint(tmp_path / "weights.pth"))
    for words in (["pool", "add-val", str(question.validation)], ["models", "import", weights]):
        result = CliRunner().invoke(cli, ["-w", str(root), *words])
        assert result.exit_code == 0, result.output
    return open_workspace(root)


@pytest.mark.train
def test_batches_and_the_page(question: Question, home: Workspace, tmp_path: Path) -> None:
    command = [
        "-w", str(home.root), "benchmark", "--data", str(question.data), "--val", str(question.validation),
        "--strategies", "random, entropy", "--batch", "2,5", "--seeds", "2", "--iterations", "3",
        "--out", str(tmp_path / "out"),
    ]  # fmt: skip
    result = CliRunner().invoke(cli, command)
    assert result.exit_code == 0, result.output
    assert "2 labels" in result.output
    page = (tmp_path / "out" / "report.html").read_text()
    assert "one cycle of 2, 5 images" in page
    assert page.count("<svg") == 3
    assert page.count("data:image/jpeg") == 4  # two picks shown of each strategy
    assert "http" not in page.replace("http-equiv", "")


@pytest.mark.train
def test_ours_is_told_how_well_the_model_counts(
    question: Question, home: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a model: that of the start in the first cycle, of the first cycle in the second."""
    told: list[Any] = []
    real = cycle_run.pick

    def spy(*args: Any) -> Any:
        told.append(args[-1].count_r2)
        return real(*args)

    monkeypatch.setattr(cycle_run, "pick", spy)
    coco = json.loads(question.validation.read_text())
    del coco["annotations"][0]  # else all images have as many
    question.validation.write_text(json.dumps(coco))
    asked = replace(question, strategies=("coverage", "random"), starts={"m0": "import-1"})
    run_benchmark(tmp_path / "out", asked, home.config, home, Silent(), resume=False)
    folder = tmp_path / "out" / "units" / "m0"
    sets = read_sets(question.data, question.validation, {}, CLASSES)
    expected = [counting(sets, folder / name) for name in ("start", "coverage/seed-0/cycle-1")]
    assert None not in expected
    assert told == [*expected, None, None]
