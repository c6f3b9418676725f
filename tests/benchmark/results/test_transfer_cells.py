"""What a transfer study says, of AP made by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.benchmark_specs import metrics_of

from al_loop.benchmark.results.transfer_cells import (
    TransferCells,
    transfer_content,
    transfer_sentences,
    transfer_table,
)
from al_loop.benchmark.run.runner import Outcome
from al_loop.benchmark.run.transfer import TransferRun
from al_loop.benchmark.run.trial import Row
from al_loop.benchmark.spec.datasets import Datasets
from al_loop.benchmark.spec.spec import BenchmarkSpec, TransferGrid


def row(pretraining: str, encoder: str, decoder: str, seed: int, ap: float) -> Row[TransferRun]:
    details = {
        "trained_parameters": 2_500_000,
        "convergence_step": 10 + 10 * (seed % 2),
        "validations": [[10, ap / 2], [20, ap]],
    }
    return Row(
        TransferRun(pretraining, encoder, decoder, 25, seed),
        metrics={"validation": metrics_of(ap)},
        seconds={"train": 60.0, "image": 0.25},
        details=details,
    )


@pytest.fixture
def cells() -> TransferCells:
    """Both, kept is 0.1 more than new at each of two seeds; a run of renders has failed."""
    rows = [Row(TransferRun("renders", "frozen", "new", 25, 0), failure="the loss is nan")]
    for seed, base in enumerate((0.30, 0.32)):
        rows += [
            row("both", "trainable", "kept", seed, base + 0.1),
            row("both", "trainable", "new", seed, base),
        ]
        rows += [row("imagenet", "trainable", "new", seed, base - 0.05 + 0.06 * seed)]
    grid = TransferGrid(rendered=(), real=("25",))
    spec = BenchmarkSpec(
        pool=Path(), validation=Path(), tests={}, starts={}, seeds=2, iterations=20, grid=grid
    )
    return TransferCells(Outcome(spec, (), Datasets([], [], {}, []), [], rows), grid)


def test_a_table_has_a_row_for_each_cell(cells: TransferCells) -> None:
    header, *rows = transfer_table(cells)
    assert header[:4] == ["pretraining", "encoder", "decoder", "photographs"]
    assert [row[:4] for row in rows] == [
        ["imagenet", "trainable", "new", "25"],
        ["renders", "frozen", "new", "25"],
        ["both", "trainable", "new", "25"],
        ["both", "trainable", "kept", "25"],
    ]
    assert header[4:9] == ["AP", "parameters trained", "s per image", "steps to convergence", "training, s"]
    assert rows[2][4:9] == ["0.310 ± 0.010", "2.50 M", "0.250", "15", "60"]
    assert set(rows[1][4:]) == {"failed"}


def test_cells_that_differ_in_one_thing_are_compared(cells: TransferCells) -> None:
    pretraining, decoder, failure, _ = transfer_sentences(cells)
    assert pretraining.startswith(
        "25 photographs: (both, trainable encoder, new decoder) − (imagenet, trainable encoder, new decoder)"
    )
    assert "no evidence of a difference" in pretraining
    assert "kept decoder) − (both, trainable encoder, new decoder): +0.100" in decoder
    assert decoder.endswith("better")
    assert failure == "failed: renders/frozen-encoder/new-decoder/real-25/seed-0: the loss is nan"


def test_plots_show_the_cells_that_did_not_fail(cells: TransferCells) -> None:
    plots = transfer_content(cells)["plots"][25]
    assert len(plots) == 2
    for svg in plots.values():
        assert "imagenet, trainable encoder, new decoder" in svg
        assert "renders" not in svg
