"""`al-loop benchmark` on real parts, small: what it runs, what it keeps, what it refuses."""

from __future__ import annotations

import csv
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner
from factories import CLASSES, write_checkpoint, write_coco_set

from al_loop.benchmark import units
from al_loop.benchmark.crew import crew_of
from al_loop.benchmark.pace import Pace
from al_loop.benchmark.results import Results
from al_loop.benchmark.sweep import Outcome, Question, check, run_benchmark
from al_loop.benchmark.tables import summary, table, write_files
from al_loop.cli import cli
from al_loop.config import Config
from al_loop.console import Silent
from al_loop.errors import ClusterError, ConfigError, DataError, TrainingError
from al_loop.workspace import init_workspace

CONFIG = msgspec.convert(
    {
        "classes": CLASSES,
        "model": {"config": "small", "image_size": [96, 64]},
        "train": {"batch_size": 4, "workers": 0},
        "pretrain": {"batch_size": 4, "workers": 0},
        "score": {"workers": 0},
        "device": "cpu",
    },
    Config,
)


@pytest.fixture
def question(tmp_path: Path) -> Question:
    pool, val = write_coco_set(tmp_path / "pool", 12, seed=1), write_coco_set(tmp_path / "val", 4, seed=2)
    tests = {"other": write_coco_set(tmp_path / "other", 3, seed=3)}
    return Question(pool, val, tests, ("random", "dbal"), {"scratch": "scratch"}, 3, 2, (), 1, 4)


def run(out: Path, question: Question, *, resume: bool = False) -> tuple[Outcome, Silent]:
    told = Silent()
    return run_benchmark(out, question, CONFIG, None, told, resume=resume), told


@pytest.mark.train
def test_chains_share_their_first_images_and_are_never_run_twice(
    question: Question, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[str] = []
    real = units.modelling.train_model

    def spy(workspace: Any, folder: Path, *rest: Any) -> Any:
        trained.append(folder.as_posix())
        if len(trained) == 2:
            raise KeyboardInterrupt
        return real(workspace, folder, *rest)

    monkeypatch.setattr(units.modelling, "train_model", spy)
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
    real = units.modelling.train_model

    def break_dbal(workspace: Any, folder: Path, *rest: Any) -> Any:
        if "dbal" in folder.as_posix():
            raise TrainingError("the loss is nan")
        return real(workspace, folder, *rest)

    monkeypatch.setattr(units.modelling, "train_model", break_dbal)
    outcome, told = run(tmp_path / "out", question)
    holes = [row for row in outcome.rows if row.hole]
    assert [(row.strategy, row.cycle) for row in holes] == [("dbal", 2)]
    assert len(outcome.rows) == 4
    assert any("dbal" in line and "the loss is nan" in line for line in told.lines)
    assert any(line.startswith("hole: scratch/dbal") for line in summary(Results(outcome, Pace(10, 7))))
    monkeypatch.setattr(units.modelling, "train_model", real)
    mended, _ = run(tmp_path / "out", question, resume=True)
    assert not [row for row in mended.rows if row.hole]


@pytest.mark.train
@pytest.mark.parametrize(
    "crew",
    [
        pytest.param({"jobs": 2}, id="processes"),
        pytest.param({"ray": "local", "jobs": 1}, id="ray", marks=pytest.mark.slow),
    ],
)
def test_chains_side_by_side_give_the_same(question: Question, tmp_path: Path, crew: dict[str, Any]) -> None:
    question = replace(question, k=2)
    alone, _ = run(tmp_path / "alone", question)
    beside = run_benchmark(
        tmp_path / "beside",
        question,
        CONFIG,
        None,
        Silent(),
        resume=False,
        **crew,
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
    real = units.modelling.train_model

    def spy(
        workspace: Any, folder: Path, start: Any, training: Any, judged: Any, settings: Any, *rest: Any
    ) -> Any:
        done = real(workspace, folder, start, training, judged, settings, *rest)
        seen.append((start is not None, settings.epochs, done["epochs"]))
        return done

    monkeypatch.setattr(units.modelling, "train_model", spy)
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


@pytest.mark.train
def test_batches_and_the_page(question: Question, tmp_path: Path) -> None:
    home = init_workspace(tmp_path / "home", CLASSES, template="demo")
    text = (home.root / "al-loop.toml").read_text()
    (home.root / "al-loop.toml").write_text(
        text.replace('config = "small"', 'config = "small"\nimage_size = [96, 64]')
    )
    weights = str(write_checkpoint(tmp_path / "weights.pth"))
    for words in (["pool", "add-val", str(question.validation)], ["models", "import", weights]):
        result = CliRunner().invoke(cli, ["-w", str(home.root), *words])
        assert result.exit_code == 0, result.output
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


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"strategies": ("nope",)}, "no strategy nope; there are badge"),
        ({"k": 0}, "--k: expected at least 1, got 0"),
        ({"batches": (10, 0)}, "--batch: expected sizes of at least 1"),
        ({"strategies": ()}, "at least one strategy"),
        ({"tests": {"validation": Path("t.json")}}, "this name is that of the set of --val"),
        ({"tests": {"../../t": Path("t.json")}}, r"--test: expected a name of letters.* got '\.\./\.\./t'"),
        ({"starts": {"../../esc": "scratch"}}, r"--start: expected a name of letters.* got '\.\./\.\./esc'"),
        ({"starts": {"..": "scratch"}}, r"--start: expected a name of letters.* got '\.\.'"),
        ({"batches": (2, 5)}, "--batch from the start scratch: .* drawn by lot, the same for every strategy"),
        ({"cycles": 1, "starts": {"c": "coco"}}, "--cycles 1 from the start c: .* Use several cycles"),
    ],
)
def test_what_cannot_be_asked(question: Question, change: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        check(replace(question, **change))


def test_names_on_the_command_line(
    question: Question, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Question] = []

    def remembered(out: Path, question: Question, *_: Any, **__: Any) -> None:
        asked.append(question)
        raise DataError("enough")

    monkeypatch.setattr("al_loop.benchmark.sweep.run_benchmark", remembered)
    home = init_workspace(tmp_path / "home", CLASSES)
    command = ["-w", str(home.root), "benchmark", "--data", "a", "--val", "b", "--out", str(tmp_path / "out")]
    CliRunner().invoke(cli, [*command, "--strategies", "random,random, dbal "])
    assert asked[0].strategies == ("random", "dbal")
    for option, twice in (
        ("--test", ["--test", "t=a", "--test", "t=b"]),
        ("--start", ["--start", "s:a,s:b"]),
    ):
        result = CliRunner().invoke(cli, [*command, *twice])
        assert isinstance(result.exception, ConfigError)
        assert f"{option}: expected distinct names" in str(result.exception)
    assert len(asked) == 1


def test_another_question_is_refused_and_named(
    question: Question, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("al_loop.benchmark.sweep.run_all", lambda *_: [])
    out = tmp_path / "out"
    run(out, question)
    with pytest.raises(ConfigError, match=r"holds a benchmark already\. Go on with it: --resume"):
        run(out, question)
    with pytest.raises(ConfigError, match=r"iterations: was 4, now 9"):
        run(out, replace(question, iterations=9), resume=True)
    with pytest.raises(ConfigError, match=r"strategies: was .*dbal"):
        run(out, replace(question, strategies=("random",)), resume=True)
    run(out, replace(question, strategies=("random", "dbal", "margin"), seeds=3), resume=True)
    more = replace(
        question,
        strategies=("random", "dbal", "margin"),
        seeds=3,
        starts={"a": "scratch", "scratch": "scratch"},
    )
    run(out, more, resume=True)
    with pytest.raises(ConfigError, match=r"starts\.a: was '', now None"):
        run(out, replace(more, starts={"scratch": "scratch"}), resume=True)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(ConfigError, match=r"not empty and holds no benchmark\.json"):
        run(tmp_path / "full", question)


def test_settings_that_nothing_reads_may_change(
    question: Question, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("al_loop.benchmark.sweep.run_all", lambda *_: [])
    out, replaced = tmp_path / "out", msgspec.structs.replace

    def resumed(config: Config) -> Outcome:
        return run_benchmark(out, question, config, None, Silent(), resume=True)

    first, _ = run(out, question)
    other = replaced(CONFIG, name="line 4", cycle=replaced(CONFIG.cycle, k=7, strategy="margin", explore=0.5))
    other = replaced(other, label_studio=replaced(CONFIG.label_studio, port=9000))
    other = replaced(other, monitor=replaced(CONFIG.monitor, settle_s=1.0))
    # Units are known by their settings: as asked first, so that what is done is found again.
    assert resumed(other).asked == first.asked
    for changed, says in (
        (
            replaced(other, cycle=replaced(CONFIG.cycle, beta=3.0)),
            r"settings\.cycle\.beta: was 2\.0, now 3\.0\)",
        ),
        (replaced(other, train=replaced(CONFIG.train, lr=0.1)), r"settings\.train\.lr: was None, now 0\.1\)"),
        (replaced(other, device="auto"), r"settings\.device: was 'cpu', now 'auto'\)"),
    ):
        with pytest.raises(ConfigError, match=rf"was asked for something else \({says}"):
            resumed(changed)


def test_more_than_the_pool_is_clipped_and_said(
    question: Question, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("al_loop.benchmark.sweep.run_all", lambda *_: [])
    outcome, told = run(tmp_path / "a", replace(question, k=5, cycles=9))
    assert outcome.asked.cycles == 3
    assert "9 cycles of 5 are more than the pool's 12 images: 3 cycles" in told.lines
    outcome, told = run(tmp_path / "b", replace(question, strategies=("random",), batches=(5, 50, 60)))
    assert outcome.asked.batches == (5, 12)
    assert "the pool has 12 images: batches of 5, 12" in told.lines


def test_starts_that_are_not_there(question: Question, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"expected model\.load_from"):
        run(tmp_path / "a", replace(question, starts={"coco": "coco"}))
    with pytest.raises(ConfigError, match="got no workspace"):
        run(tmp_path / "b", replace(question, starts={"synthetic": "pretrain-1"}))
    weights = tmp_path / "weights.pth"
    weights.touch()
    with pytest.raises(ConfigError, match="import it into the workspace first"):
        run(tmp_path / "c", replace(question, starts={str(weights): str(weights)}))
    with pytest.raises(ConfigError, match="expected a name of letters"):
        run(tmp_path / "d", replace(question, starts={"../esc": str(weights)}))


def test_sets_that_cannot_be_used(question: Question, tmp_path: Path) -> None:
    lonely = json.loads(question.validation.read_text())
    first = lonely["categories"][0]["id"]
    lonely["annotations"] = [a for a in lonely["annotations"] if a["category_id"] == first]
    question.validation.write_text(json.dumps(lonely))
    with pytest.raises(DataError, match=f"has no box of {CLASSES[1]}"):
        run(tmp_path / "a", question)
    bare = json.loads(question.data.read_text())
    for number, category in enumerate(bare["categories"]):
        category["name"] = f"other-{number}"
    (question.data.parent / "bare.json").write_text(json.dumps(bare))
    tests = {"bare": question.data.parent / "bare.json"}
    with pytest.raises(
        DataError, match=r"expected boxes of bolt, nut in the set bare, got none .* is none of"
    ):
        run(tmp_path / "c", replace(question, validation=question.data, tests=tests))
    empty = tmp_path / "empty.json"
    empty.write_text(json.dumps({"images": [], "annotations": [], "categories": []}))
    with pytest.raises(DataError, match="no image that can be used as nothing"):
        run(tmp_path / "b", replace(question, tests={"nothing": empty}))


def test_an_image_that_is_judged_on_is_not_picked(
    question: Question, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("al_loop.benchmark.sweep.run_all", lambda *_: [])
    with pytest.raises(DataError, match="nothing is left to pick from"):
        run(tmp_path / "a", replace(question, tests={"same": question.data}))
    part = json.loads(question.data.read_text())
    part["images"] = part["images"][:5]
    (question.data.parent / "part.json").write_text(json.dumps(part))
    outcome, told = run(tmp_path / "b", replace(question, tests={"part": question.data.parent / "part.json"}))
    assert len(outcome.sets.pool) == 7
    assert any("5 images of coco.json left out: models are judged on them" in line for line in told.lines)


def test_a_node_that_does_not_see_the_folder_says_so(tmp_path: Path) -> None:
    chain = (units.Unit("scratch", "random", 0, 1, 2),)
    with (
        crew_of(dict, tmp_path / "out", 1, "local") as crew,
        pytest.raises(ConfigError, match=r"does not see .*/out: expected a folder that all nodes share"),
    ):
        assert crew is not None
        list(crew.run([chain]))


def test_without_ray_it_says_how_to_get_it(
    question: Question, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ClusterError, match=r"pip install 'al-loop\[ray\]'"):
        run_benchmark(tmp_path / "out", question, CONFIG, None, Silent(), resume=False, ray="auto")
