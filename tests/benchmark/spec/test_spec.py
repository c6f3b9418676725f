"""The record of a benchmark: what may change before it is resumed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from msgspec import structs
from support.benchmark_specs import CONFIG, change, mix_spec, strategy_spec

from al_loop.benchmark.run.context import BenchmarkContext, ContextFactory
from al_loop.benchmark.spec.spec import FILE, BenchmarkSpec, claim_folder
from al_loop.core.config import Config
from al_loop.core.errors import ConfigError
from al_loop.state.workspace import Workspace


@pytest.fixture
def claim(workspace: Workspace, tmp_path: Path):  # type: ignore[no-untyped-def]
    """Claim a folder for a spec, as a run does."""

    def call(
        spec: BenchmarkSpec, config: Config = CONFIG, *, out: Path = tmp_path / "out", resume: bool = True
    ) -> BenchmarkContext:
        context = ContextFactory(out, spec, config, workspace.root)()
        claim_folder(out, context.record, resume=resume)
        return context

    return call


@pytest.mark.integration
def test_another_spec_is_refused_and_named(claim, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    spec = strategy_spec(tmp_path)
    claim(spec, resume=False)
    with pytest.raises(ConfigError, match=r"contains a benchmark\. Continue it with --resume"):
        claim(spec, resume=False)
    with pytest.raises(ConfigError, match=r"iterations: was 4, now 9"):
        claim(change(spec, iterations=9))
    with pytest.raises(ConfigError, match=r"strategies: was .*dbal"):
        claim(change(spec, strategies=("random",)))
    more = change(spec, strategies=("random", "dbal", "margin"), seeds=3)
    claim(more)
    claim(change(more, starts={"a": "scratch", "scratch": "scratch"}))
    with pytest.raises(ConfigError, match=r"starts\.a: was '', now None"):
        claim(more)
    mix = mix_spec(tmp_path / "mix")
    with pytest.raises(ConfigError, match="kind: was 'strategies', now 'mix'"):
        claim(mix)
    claim(mix, out=tmp_path / "grid")
    claim(change(mix, schedules=("joint", "pretrain", "replay"), real=("0", "1", "4")), out=tmp_path / "grid")
    with pytest.raises(ConfigError, match=r"healthy: was None, now \['0'\]"):
        claim(change(mix, healthy=("0",)), out=tmp_path / "grid")
    # A grid without these axes has the record of an older al-loop.
    assert (
        not {"healthy", "healthy_synthetic", "total"}
        & json.loads((tmp_path / "grid" / FILE).read_text()).keys()
    )
    with pytest.raises(ConfigError, match="real: was "):
        claim(mix, out=tmp_path / "grid")


def test_a_folder_of_something_else_is_refused(claim, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    spec = strategy_spec(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(ConfigError, match=r"not empty and has no benchmark\.json"):
        claim(spec, out=tmp_path / "full")
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / FILE).write_text(json.dumps({"pool": "", "anew": False}))
    with pytest.raises(ConfigError, match="of another version of al-loop, which cannot be resumed"):
        claim(spec, out=tmp_path / "old")


def test_settings_that_no_run_reads_may_change(claim, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    spec = strategy_spec(tmp_path)
    first = claim(spec)
    other = structs.replace(
        CONFIG,
        name="line 4",
        cycle=structs.replace(CONFIG.cycle, k=7, strategy="margin", explore_fraction=0.5),
        label_studio=structs.replace(CONFIG.label_studio, port=9000),
        monitor=structs.replace(CONFIG.monitor, min_age_s=1.0),
    )
    assert claim(spec, other).stage("x").inputs == first.stage("x").inputs
    beta = structs.replace(other, cycle=structs.replace(CONFIG.cycle, beta=3.0))
    for changed, says in (
        (beta, r"settings\.cycle\.beta: was 2\.0, now 3\.0\)"),
        (
            structs.replace(other, train=structs.replace(CONFIG.train, lr=0.1)),
            r"settings\.train\.lr: was None, now 0\.1\)",
        ),
        (structs.replace(other, device="auto"), r"settings\.device: was 'cpu', now 'auto'\)"),
    ):
        with pytest.raises(ConfigError, match=rf"contains a different benchmark \({says}"):
            claim(spec, changed)
    mix = mix_spec(tmp_path / "mix")
    claim(mix, out=tmp_path / "grid")
    claim(mix, beta, out=tmp_path / "grid")
