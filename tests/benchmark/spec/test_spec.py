"""What `al-loop benchmark` can be asked, and what it refuses: sets, starts, names, settings and clusters."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner
from PIL import Image
from support.benchmark_specs import CONFIG, run, small_question
from support.factories import CLASSES

from al_loop.benchmark.run import cycle_run
from al_loop.benchmark.run.executors import make_executor
from al_loop.benchmark.run.runner import Outcome, Question, check, run_benchmark
from al_loop.benchmark.spec.spec import read_settings
from al_loop.cli import cli
from al_loop.core.config import Config
from al_loop.core.console import Silent
from al_loop.core.errors import ClusterError, ConfigError, DataError
from al_loop.state.workspace import init_workspace


@pytest.fixture
def question(tmp_path: Path) -> Question:
    return small_question(tmp_path)


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

    monkeypatch.setattr("al_loop.benchmark.run.runner.run_benchmark", remembered)
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
    monkeypatch.setattr("al_loop.benchmark.run.runner.run_all", lambda *_: [])
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
    monkeypatch.setattr("al_loop.benchmark.run.runner.run_all", lambda *_: [])
    out, replaced = tmp_path / "out", msgspec.structs.replace

    def resumed(config: Config) -> Outcome:
        return run_benchmark(out, question, config, None, Silent(), resume=True)

    first, _ = run(out, question)
    other = replaced(
        CONFIG, name="line 4", cycle=replaced(CONFIG.cycle, k=7, strategy="margin", explore_fraction=0.5)
    )
    other = replaced(other, label_studio=replaced(CONFIG.label_studio, port=9000))
    other = replaced(other, monitor=replaced(CONFIG.monitor, min_age_s=1.0))
    # Units are known by what they read: what is done is found again.
    assert read_settings(resumed(other).asked) == read_settings(first.asked)
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
    monkeypatch.setattr("al_loop.benchmark.run.runner.run_all", lambda *_: [])
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
        DataError,
        match=r"(?s)12 × category 'other-0' is none of bolt, nut.* no image that can be used as bare",
    ):
        run(tmp_path / "c", replace(question, validation=question.data, tests=tests))
    empty = tmp_path / "empty.json"
    empty.write_text(json.dumps({"images": [], "annotations": [], "categories": []}))
    with pytest.raises(DataError, match="no image that can be used as nothing"):
        run(tmp_path / "b", replace(question, tests={"nothing": empty}))


def test_an_image_that_is_judged_on_is_not_picked(
    question: Question, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("al_loop.benchmark.run.runner.run_all", lambda *_: [])
    with pytest.raises(DataError, match="nothing is left to pick from"):
        run(tmp_path / "a", replace(question, tests={"same": question.data}))
    part = json.loads(question.data.read_text())
    part["images"] = part["images"][:5]
    first = question.data.parent / "images" / part["images"][0]["file_name"]
    with Image.open(first) as picture:
        picture.save(first.with_suffix(".bmp"))  # the same picture by another file
    part["images"][0]["file_name"] = first.with_suffix(".bmp").name
    (question.data.parent / "part.json").write_text(json.dumps(part))
    outcome, told = run(tmp_path / "b", replace(question, tests={"part": question.data.parent / "part.json"}))
    assert len(outcome.sets.pool) == 7
    assert any("5 images of coco.json left out: models are judged on them" in line for line in told.lines)
    assert "pool: 7 images, 14 boxes, 0 images empty" in told.lines


def test_a_node_that_does_not_see_the_folder_says_so(tmp_path: Path) -> None:
    chain = (cycle_run.CycleRun("scratch", "random", 0, 1, 2),)
    with (
        make_executor(dict, tmp_path / "out", 1, "local") as executor,
        pytest.raises(ConfigError, match=r"does not see .*/out: expected a folder that all nodes share"),
    ):
        assert executor is not None
        list(executor.run([chain]))


def test_without_ray_it_says_how_to_get_it(
    question: Question, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ClusterError, match=r"pip install 'al-loop\[ray\]'"):
        run_benchmark(tmp_path / "out", question, CONFIG, None, Silent(), resume=False, ray="auto")
