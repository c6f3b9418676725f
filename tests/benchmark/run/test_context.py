"""What the trials of a benchmark share: initial models, and numbers that the datasets can give."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.benchmark_specs import CONFIG, change, strategy_spec

from al_loop.benchmark.run.context import ContextFactory
from al_loop.benchmark.run.image_counts import image_counts
from al_loop.benchmark.spec.initial_models import find_initial_model
from al_loop.benchmark.spec.spec import StrategyGrid
from al_loop.core.console import Silent
from al_loop.core.errors import ConfigError
from al_loop.state.workspace import Workspace


def test_more_than_the_pool_is_clipped_and_reported(workspace: Workspace, tmp_path: Path) -> None:
    spec, reporter = strategy_spec(tmp_path), Silent()

    def clipped(**changes: object) -> StrategyGrid:
        grid = ContextFactory(tmp_path / "out", change(spec, **changes), CONFIG, workspace.root)(reporter)
        assert isinstance(grid.spec.grid, StrategyGrid)
        return grid.spec.grid

    assert clipped(k=5, cycles=9).cycles == 3
    assert reporter.lines[-1] == "9 cycles of 5 are more than the pool's 12 images: 3 cycles"
    assert clipped(batches=(5, 50, 60)).batches == (5, 12)
    assert reporter.lines[-1] == "the pool has 12 images: batches of 5, 12"


def test_image_counts_are_numbers_or_shares() -> None:
    reporter = Silent()
    assert image_counts("--real", ("0", "25%", "100%", "7", "50"), 40, reporter) == [0, 7, 10, 40]
    assert reporter.lines == ["--real 50: there are 40 images, all are taken"]
    for wrong in ("x", "-1", "2.5", "101%", "nan", "inf", "%"):
        with pytest.raises(ConfigError, match=f"--real {wrong}: expected numbers of images, or shares"):
            image_counts("--real", (wrong,), 40, reporter)
    with pytest.raises(ConfigError, match="--real: expected a number of images above 0, got 0"):
        image_counts("--real", ("0",), 40, reporter)


def test_initial_models_that_do_not_exist(workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"expected model\.load_from"):
        find_initial_model("coco", workspace, CONFIG)
    (tmp_path / "weights.pth").touch()
    with pytest.raises(ConfigError, match="import it into the workspace first"):
        find_initial_model(str(tmp_path / "weights.pth"), workspace, CONFIG)
