"""Prices from the answers of all cycles, used for the next picks and kept for their reproduction."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest
from support.small_loop import SmallLoop, small_loop

from al_loop.core.console import Silent
from al_loop.core.files import read_json
from al_loop.labelling import sync
from al_loop.labelling.sync import PullResult
from al_loop.loop.measured_prices import measured_prices
from al_loop.loop.pool_scoring import LabelSummary
from al_loop.state.workspace import Workspace


@pytest.fixture
def loop(workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SmallLoop:
    """Every answer takes 4 s, and confirms one box."""
    loop = small_loop(workspace, tmp_path, monkeypatch, images=60)

    def pull(workspace: Workspace, cycle: int, *_: object) -> PullResult:
        counts = loop.pull(workspace, cycle).counts
        rows = workspace.store.rows("SELECT image_id FROM picks WHERE cycle = ?", cycle)
        return PullResult(counts, actions={row["image_id"]: (4.0, 1, 0, 0) for row in rows})

    monkeypatch.setattr(sync, "pull_labels", pull)
    return loop


def test_thirty_answers_are_needed(loop: SmallLoop) -> None:
    loop.run(strategy="calibrated", cycles=2)
    assert measured_prices(loop.workspace) is None
    loop.run(strategy="calibrated", cycles=2)
    prices = measured_prices(loop.workspace)
    assert prices is not None
    assert prices.image + prices.confirm == pytest.approx(4, abs=0.3)
    assert (prices.delete, prices.draw) == pytest.approx((2, 7))
    # The fourth cycle knew 30 answers; what it picked with is kept.
    known = [
        LabelSummary.of(read_json(loop.workspace.cycle_dir(number) / "select" / "known.json"))
        for number in (3, 4)
    ]
    assert known[0].prices is None
    assert known[1].prices is not None
    assert asdict(known[1].prices) == pytest.approx(asdict(prices), abs=0.1)


def test_the_report_of_a_selection_says_the_prices(loop: SmallLoop) -> None:
    from msgspec import structs

    from al_loop.loop.cycle import run_cycle

    loop.run(strategy="calibrated", cycles=3)
    cycle = structs.replace(loop.workspace.config.cycle, k=10, strategy="calibrated")
    reporter = Silent()
    run_cycle(
        loop.workspace.with_settings(structs.replace(loop.workspace.config, cycle=cycle)), None, reporter
    )
    assert any("s to confirm a box" in line for line in reporter.lines)
