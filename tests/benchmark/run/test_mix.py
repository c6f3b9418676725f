"""`al-loop benchmark --mix`: which cells there are, what is trained for them, and what they say."""

from __future__ import annotations

import csv
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner
from support.benchmark_specs import small_config
from support.factories import CLASSES, write_coco_set

from al_loop.benchmark.results.mix_page import Mixed, mix_table, mix_words, one_sided, write_mix
from al_loop.benchmark.run import mix as mixing
from al_loop.benchmark.run.mix import Cell, Mix, MixQuestion, amounts, check_mix, run_mix
from al_loop.benchmark.spec.spec import read_settings
from al_loop.cli import cli
from al_loop.core.console import Silent
from al_loop.core.errors import ConfigError, TrainingError
from al_loop.models import service
from al_loop.state.workspace import Workspace, init_workspace

CONFIG = small_config(2)


@pytest.fixture
def question(tmp_path: Path) -> MixQuestion:
    pool, val = write_coco_set(tmp_path / "pool", 8, seed=1), write_coco_set(tmp_path / "val", 4, seed=2)
    rendered = write_coco_set(tmp_path / "rendered", 6, seed=3)
    tests = {"other": write_coco_set(tmp_path / "other", 3, seed=4)}
    return MixQuestion(
        pool,
        val,
        tests,
        (rendered,),
        {"scratch": "scratch"},
        ("pretrain", "joint"),
        ("0", "50%"),
        ("0", "6"),
        1,
        4,
    )


def run(out: Path, question: MixQuestion, home: Workspace, *, resume: bool = False) -> tuple[Mix, Silent]:
    told = Silent()
    return run_mix(out, question, CONFIG, home, told, resume=resume), told


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, int, bool]]:
    """What was trained: folder below units/mix, images, of them rendered, whether the backbone was frozen."""
    seen: list[tuple[str, int, int, bool]] = []
    real = service.train_model

    def spy(workspace: Any, folder: Path, start: Any, images: Any, *rest: Any, frozen: bool = False) -> Any:
        name = folder.as_posix().partition("units/mix/")[2].removesuffix(".partial")
        seen.append((name, len(images), sum(i.image.path.parts[-3] == "rendered" for i in images), frozen))
        return real(workspace, folder, start, images, *rest, frozen=frozen)

    monkeypatch.setattr(mixing.service, "train_model", spy)
    return seen


@pytest.mark.train
def test_a_grid_is_trained_once_and_grows(
    question: MixQuestion, workspace: Workspace, tmp_path: Path, trained: list[tuple[str, int, int, bool]]
) -> None:
    out = tmp_path / "out"
    mix, _ = run(out, question, workspace)
    assert trained == [
        ("real-only/real-4/rendered-0/seed-0", 4, 0, False),
        ("rendered-only/real-0/rendered-6/seed-0", 6, 6, False),
        ("pretrained/rendered-6/seed-0", 6, 6, False),
        ("pretrain/real-4/rendered-6/seed-0", 4, 0, False),
        ("joint/real-4/rendered-6/seed-0", 10, 6, False),
    ]
    assert [(c.way, c.real, c.synthetic) for c in mix.cells] == [
        ("real only", 4, 0), ("rendered only", 0, 6), ("pretrain", 4, 6), ("joint", 4, 6)
    ]  # fmt: skip
    assert all(set(c.judged or {}) == {"validation", "other"} and (c.seconds or 0) > 0 for c in mix.cells)
    assert not list(out.rglob("weights.pth"))
    more = replace(question, ways=(*question.ways, "replay-frozen"))
    with pytest.raises(ConfigError, match="holds a benchmark already"):
        run(out, more, workspace)
    trained.clear()
    grown, _ = run(out, more, workspace, resume=True)
    # The pretrained weights were forgotten: the same again, for the new way alone.
    assert trained == [
        ("pretrained/rendered-6/seed-0", 6, 6, False),
        ("replay-frozen/real-4/rendered-6/seed-0", 8, 4, True),
    ]
    assert [c for c in grown.cells if c.way != "replay-frozen"] == mix.cells
    trained.clear()
    whole, _ = run(out, more, workspace, resume=True)
    assert trained == []  # what is finished is only drawn
    assert whole.cells == grown.cells
    paths = write_mix(Mixed(grown), out)
    with paths[0].open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 10  # five cells, two sets
    assert all(float(row["seconds_train"]) > 0 and row["ap"] for row in rows)
    page = paths[2].read_text()
    assert page.count("<svg") == 3
    assert "One seed." in page
    assert "http" not in page.replace("http-equiv", "")


def test_settings_of_the_cycle_may_change(
    question: MixQuestion, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mixing._Study, "run", lambda *_: [])
    first, _ = run(tmp_path / "out", question, workspace)
    replaced = msgspec.structs.replace
    other = replaced(CONFIG, name="line 4", cycle=replaced(CONFIG.cycle, beta=9.0))
    again = run_mix(tmp_path / "out", question, other, workspace, Silent(), resume=True)
    assert read_settings(again.asked) == read_settings(first.asked)


@pytest.mark.train
def test_a_frozen_backbone_does_not_move(workspace: Workspace, tmp_path: Path, question: MixQuestion) -> None:
    import torch

    from al_loop.detector.checkpoint import read_weights

    sets = mixing.read_sets(question.data, question.validation, {}, CLASSES)
    home = Workspace(tmp_path, CONFIG, workspace.store)
    settings = msgspec.structs.replace(CONFIG.train, epochs=1, val_every=1)

    def train(name: str, start: Any, frozen: bool) -> Any:
        folder = tmp_path / name
        done = service.train_model(
            home, folder, start, sets.pool, sets.validation, settings, lambda *_: None, frozen=frozen
        )
        return mixing._model(name, folder, done)

    first = train("first", None, False)
    before = read_weights(first.weights)
    for frozen in (True, False):
        after = read_weights(train(f"then-{frozen}", first, frozen).weights)
        moved = {name.partition(".")[0] for name in before if not torch.equal(before[name], after[name])}
        assert "roi_head" in moved
        assert ("backbone" in moved) == (not frozen)


@pytest.mark.train
def test_a_training_that_fails_is_a_hole(
    question: MixQuestion, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = service.train_model

    def break_joint(workspace: Any, folder: Path, *rest: Any, **more: Any) -> Any:
        if "joint" in folder.as_posix():
            raise TrainingError("the loss is nan")
        return real(workspace, folder, *rest, **more)

    monkeypatch.setattr(mixing.service, "train_model", break_joint)
    mix, told = run(tmp_path / "out", question, workspace)
    assert [c.way for c in mix.cells if c.hole] == ["joint"]
    assert any("the loss is nan" in line for line in told.lines)
    assert "hole: joint/real-4/rendered-6/seed-0: the loss is nan" in mix_words(Mixed(mix))
    (row,) = (row for row in mix_table(Mixed(mix)) if row[0] == "joint")
    assert row[1:6] == ["4", "6", "hole", "hole", "hole"]
    page = write_mix(Mixed(mix), tmp_path / "out")[2].read_text()
    assert "Holes.</strong> joint, 4 photographs, 6 rendered, seed 0: the loss is nan" in page
    (told_of,) = (part for part in page.split("<h3>") if part.startswith("On the set other"))
    assert {"precision", "recall"} <= set(re.findall(r">([\w ]+)</th>", told_of))


def test_amounts_are_counts_or_shares() -> None:
    told = Silent()
    assert amounts("--real", ("0", "25%", "100%", "7", "50"), 40, told) == (0, 7, 10, 40)
    assert told.lines == ["--real 50: there are 40 images, all are taken"]
    for wrong in ("x", "-1", "2.5", "101%", "nan", "inf", "%"):
        with pytest.raises(ConfigError, match=f"--real {wrong}: expected numbers of images, or shares"):
            amounts("--real", (wrong,), 40, told)
    with pytest.raises(ConfigError, match="--real: expected a number of images above 0, got 0"):
        amounts("--real", ("0",), 40, told)


def test_what_no_study_can_answer(question: MixQuestion) -> None:
    with pytest.raises(ConfigError, match=r"--ways: expected some of pretrain, .*, got sideways"):
        check_mix(replace(question, ways=("joint", "sideways")))
    with pytest.raises(ConfigError, match="--mix: expected one --start, got a, b"):
        check_mix(replace(question, starts={"a": "scratch", "b": "coco"}))
    with pytest.raises(ConfigError, match="--seeds: expected at least 1, got 0"):
        check_mix(replace(question, seeds=0))
    with pytest.raises(ConfigError, match="--iterations: expected at least 2, which pretrain divides, got 1"):
        check_mix(replace(question, iterations=1))
    check_mix(replace(question, iterations=1, ways=("joint",)))


@pytest.mark.train
@pytest.mark.parametrize("iterations", [4, 5])
def test_every_way_takes_as_many_steps(
    question: MixQuestion,
    workspace: Workspace,
    tmp_path: Path,
    iterations: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Counted as they are taken: pretrained and then trained on they are as many as at once."""
    from al_loop.detector.training.hooks import ReportProgress

    taken: list[int] = []
    real = ReportProgress.after_train_iter

    def count(self: Any, *args: Any, **rest: Any) -> None:
        taken.append(1)
        real(self, *args, **rest)

    monkeypatch.setattr(ReportProgress, "after_train_iter", count)
    some = replace(question, real=("3",), synthetic=("5",), iterations=iterations)
    for way in ("pretrain", "joint", "replay"):
        taken.clear()
        mix, _ = run(tmp_path / way, replace(some, ways=(way,)), workspace)
        assert not [cell.hole for cell in mix.cells if cell.hole]
        assert len(taken) == iterations


def test_options_that_mean_nothing_are_refused(tmp_path: Path, question: MixQuestion) -> None:
    home = init_workspace(tmp_path / "home", CLASSES)
    command = [
        "-w", str(home.root), "benchmark", "--data", str(question.data), "--val", str(question.validation),
        "--out", str(tmp_path / "out"),
    ]  # fmt: skip

    def refused(*options: str) -> str:
        result = CliRunner().invoke(cli, [*command, *options])
        assert isinstance(result.exception, ConfigError)
        return str(result.exception)

    assert "one cell after another: leave --jobs out" in refused("--mix", "--jobs", "2")
    assert "leave --strategies and --k out" in refused("--mix", "--strategies", "nope", "--k", "3")
    assert "leave --early-stop and --target out" in refused("--mix", "--early-stop", "--target", "0.3")
    # Also where what is given is the default.
    assert "leave --cycles out" in refused("--mix", "--cycles", "4")
    assert refused("--real", "0", "--ways", "joint").startswith("--real, --ways: expected with --mix")


def test_one_sided_by_hand() -> None:
    """Differences 1, 2, 3: t = 2 / (1 / √3) = 3.464 with two degrees of freedom, p = 0.0371 above."""
    assert one_sided([2, 4, 6], [1, 2, 3]) == pytest.approx(0.0371, abs=5e-5)
    assert one_sided([1, 2, 3], [2, 4, 6]) == pytest.approx(1 - 0.0371, abs=5e-5)
    assert one_sided([1.0], [0.0]) is None
    assert (one_sided([2, 3], [1, 2]), one_sided([1, 2], [2, 3]), one_sided([1, 1], [1, 1])) == (
        0.0,
        1.0,
        0.5,
    )


def test_words_and_marks_go_by_the_test() -> None:
    """Joint is more at three seeds; pretrain is not, by chance; each is held against as many photographs alone."""
    judged = {"ap50": 0, "right": 0, "misclassified": 0, "missed": 0, "false": 0, "images_right": 0}

    def cell(way: str, real: int, synthetic: int, seed: int, ap: float) -> Cell:
        return Cell(way, real, synthetic, seed, {"validation": {"ap": ap, **judged}}, 1.0)

    cells = []
    for seed, base in enumerate((0.10, 0.14, 0.12)):
        cells += [cell("real only", 5, 0, seed, base), cell("real only", 9, 0, seed, 0.9)]
        cells += [cell("joint", 5, 7, seed, base + 0.05 + 0.001 * seed)]
        cells += [cell("pretrain", 5, 7, seed, base + (-0.05, 0.02, 0.05)[seed])]
    asked = type("Asked", (), {"seeds": 3})()
    mixed = Mixed(Mix(asked, None, [], cells))  # type: ignore[arg-type]  # what it reads of both
    joint, pretrain = mix_words(mixed)
    assert joint.startswith(
        "5 photographs, 7 rendered, joint: +0.051 AP over 5 photographs alone, more (one-sided p < 0.001"
    )
    assert "no evidence that it is more (one-sided p = 0.4" in pretrain
    assert mixed.mean(("joint", 5, 0)) == pytest.approx(0.12)
    assert mixed.mean(("joint", 0, 7)) is None
