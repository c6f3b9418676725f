"""What `al-loop benchmark` refuses, and how it reads its options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from support.benchmark_specs import change, mix_spec, strategy_spec

from al_loop.benchmark.run.runner import check_spec, run_benchmark
from al_loop.benchmark.spec.spec import BenchmarkSpec, MixGrid, StrategyGrid
from al_loop.cli import cli
from al_loop.core.console import Silent
from al_loop.core.errors import ConfigError, DataError
from al_loop.state.workspace import Workspace


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sets")


@pytest.mark.integration
@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"strategies": ("nope",)}, "no strategy nope; there are badge"),
        ({"strategies": ("ours",)}, r"no strategy ours \(ours is called coverage now\); there are"),
        ({"k": 0}, "--k: expected at least 1, got 0"),
        ({"seeds": 0}, "--seeds: expected at least 1, got 0"),
        ({"batches": (10, 0)}, "--batch: expected sizes of at least 1"),
        ({"strategies": ()}, "at least one strategy"),
        ({"tests": {"validation": Path("t.json")}}, "this name is that of the set of --val"),
        ({"tests": {"../../t": Path("t.json")}}, r"--test: expected a name of letters.* got '\.\./\.\./t'"),
        ({"starts": {"../../esc": "scratch"}}, r"--start: expected a name of letters.* got '\.\./\.\./esc'"),
        ({"starts": {"..": "scratch"}}, r"--start: expected a name of letters.* got '\.\.'"),
        ({"batches": (2, 5)}, "--batch from the start scratch: .* at random, the same for every strategy"),
        ({"cycles": 1, "starts": {"c": "coco"}}, "--cycles 1 from the start c: .* Use several cycles"),
    ],
)
def test_strategies_that_cannot_be_compared(folder: Path, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        check_spec(change(strategy_spec(folder), **changes))


def test_a_strategy_that_reads_masks_needs_them(folder: Path, workspace: Workspace) -> None:
    spec = change(strategy_spec(folder), strategies=("random", "mask-margin"))
    with pytest.raises(ConfigError, match='"mask-margin" reads masks, and task = "detection" has none'):
        run_benchmark(folder / "masks", spec, workspace.config, workspace, Silent())
    assert not (folder / "masks").exists()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"schedules": ("joint", "up")}, r"--schedules: expected some of pretrain, .*, got up"),
        ({"starts": {"a": "scratch", "b": "coco"}}, "--mix: expected one --start, got a, b"),
        ({"seeds": 0}, "--seeds: expected at least 1, got 0"),
        ({"iterations": 1}, "--iterations: expected at least 2, which pretrain divides, got 1"),
    ],
)
def test_mixes_that_cannot_be_trained(folder: Path, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        check_spec(change(mix_spec(folder), **changes))


def test_one_step_is_enough_for_a_schedule_of_one_part(folder: Path) -> None:
    check_spec(change(mix_spec(folder), iterations=1, schedules=("joint",)))


def command(workspace: Workspace, *options: str) -> Result:
    words = ["--data", "a", "--val", "b", "--out", str(workspace.root / "out"), *options]
    return CliRunner().invoke(cli, ["-w", str(workspace.root), "benchmark", *words])


def test_options_become_a_spec(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    specs: list[BenchmarkSpec] = []

    def remembered(out: Path, spec: BenchmarkSpec, *_: Any) -> None:
        specs.append(spec)
        raise DataError("enough")

    monkeypatch.setattr("al_loop.benchmark.run.runner.run_benchmark", remembered)
    command(
        workspace, "--strategies", "random,random, dbal ", "--start", "m:pretrain-1,coco", "--batch", "2,5"
    )
    command(workspace, "--mix", "--schedules", "joint", "--real", "0,7", "--rendered", "r", "--test", "t=f")
    command(workspace, "--mix", "--total", "9", "--healthy", "0,2", "--healthy-synthetic", "50%")
    strategies, mix, total = specs
    assert strategies.starts == {"m": "pretrain-1", "coco": "coco"}
    assert strategies.grid == StrategyGrid(strategies=("random", "dbal"), k=25, cycles=4, batches=(2, 5))
    assert mix.grid == MixGrid(
        rendered=(Path("r"),),
        schedules=("joint",),
        real=("0", "7"),
        synthetic=("0", "25%", "50%", "75%", "100%"),
    )
    assert isinstance(total.grid, MixGrid)
    assert (total.grid.real, total.grid.total) == ((), 9)
    assert (total.grid.healthy, total.grid.healthy_synthetic) == (("0", "2"), ("50%",))
    assert (mix.starts, mix.tests) == ({"scratch": "scratch"}, {"t": Path("f")})


@pytest.mark.integration
@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--test", "t=a", "--test", "t=b"], "--test: expected distinct names"),
        (["--test", "t"], "--test t: expected NAME=FILE"),
        (["--start", "s:a,s:b"], "--start: expected distinct names"),
        (["--batch", "x"], "--batch x: expected numbers"),
        (["--mix", "--strategies", "nope", "--k", "3"], "leave --strategies and --k out"),
        (["--mix", "--early-stop", "--target", "0.3"], "leave --early-stop and --target out"),
        (["--mix", "--cycles", "4"], "leave --cycles out"),  # the default, too, where it is given
        (["--real", "0", "--schedules", "joint"], "--real, --schedules: expected with --mix or --transfer"),
        (["--transfer", "--start", "coco", "--synthetic", "5"], "leave --start and --synthetic out"),
        (["--healthy", "5"], "--healthy: expected with --mix"),
        (["--mix", "--total", "9", "--real", "5"], "Leave --real out, or leave --total out"),
        (["--transfer", "--mix"], "--mix and --transfer are two benchmarks"),
    ],
)
def test_options_that_cannot_be_read(workspace: Workspace, options: list[str], says: str) -> None:
    result = command(workspace, *options)
    assert isinstance(result.exception, ConfigError)
    assert says in str(result.exception)
