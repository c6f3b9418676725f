"""What a mix study says, of AP made by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.benchmark_specs import metrics_of

from al_loop.benchmark.results.mix_cells import Cell, MixCells, mix_sentences, mix_table
from al_loop.benchmark.run.mix import MixRun
from al_loop.benchmark.run.runner import Outcome
from al_loop.benchmark.run.trial import Row
from al_loop.benchmark.spec.datasets import Datasets
from al_loop.benchmark.spec.spec import BenchmarkSpec, MixGrid


def row(schedule: str, real: int, synthetic: int, seed: int, ap: float) -> Row[MixRun]:
    run = MixRun("m", schedule, real, synthetic, seed)
    return Row(run, metrics={"validation": metrics_of(ap)}, seconds={"train": 1.0})


@pytest.fixture
def cells() -> MixCells:
    """Joint is more at three seeds; pretrain is not, beyond chance. A training of replay has failed."""
    rows = [Row(MixRun("m", "replay", 5, 7, 0), failure="the loss is nan")]
    for seed, base in enumerate((0.10, 0.14, 0.12)):
        rows += [row("real only", 5, 0, seed, base), row("real only", 9, 0, seed, 0.9)]
        rows += [row("joint", 5, 7, seed, base + 0.05 + 0.001 * seed)]
        rows += [row("pretrain", 5, 7, seed, base + (-0.05, 0.02, 0.05)[seed])]
    grid = MixGrid(rendered=(), schedules=("joint", "pretrain"), real=("0", "5", "9"), synthetic=("0", "7"))
    spec = BenchmarkSpec(
        pool=Path(), validation=Path(), tests={}, starts={"m": "m"}, seeds=3, iterations=1, grid=grid
    )
    return MixCells(Outcome(spec, (), Datasets([], [], {}, []), [], rows), grid)


def test_each_cell_is_compared_with_as_many_photographs_alone(cells: MixCells) -> None:
    joint, pretrain, failure, retry = mix_sentences(cells)
    assert joint.startswith(
        "5 photographs, 7 rendered, joint: +0.051 AP over 5 photographs alone, more (one-sided p < 0.001"
    )
    assert "no evidence that it is more (one-sided p = 0.4" in pretrain
    assert failure == "failed: replay/real-5/rendered-7/seed-0: the loss is nan"
    assert "another --out" in retry
    gain = cells.gain(Cell("joint", 5, 7))
    assert gain is not None
    assert gain.is_evident
    assert not cells.gain(Cell("replay", 5, 7))


def test_one_kind_of_images_counts_for_all_schedules(cells: MixCells) -> None:
    assert cells.mean_ap(Cell("joint", 5, 0)) == pytest.approx(0.12)
    assert cells.mean_ap(Cell("joint", 0, 7)) is None


def test_a_table_has_a_row_for_each_cell(cells: MixCells) -> None:
    header, *rows = mix_table(cells)
    assert {"AP", "precision", "recall", "images right"} <= set(header)
    assert [row[:3] for row in rows] == [
        ["real only", "5", "0"],
        ["real only", "9", "0"],
        ["joint", "5", "7"],
        ["pretrain", "5", "7"],
        ["replay", "5", "7"],
    ]
    assert rows[0][3] == "0.120 ± 0.012"
    assert rows[-1][3:] == ["failed"] * 10 + ["–", "–"]
