"""`al-loop benchmark --transfer`: which models are trained, from what, and what is reported."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from support.benchmark_specs import CONFIG, FakeTrainings, failing, fake_trainings, run, transfer_spec

from al_loop.benchmark.results.labelling_cost import LabellingCost
from al_loop.benchmark.results.report import report_of, write_report
from al_loop.benchmark.run import transfer
from al_loop.benchmark.run.transfer import _convergence
from al_loop.benchmark.spec.spec import BenchmarkSpec
from al_loop.core.errors import ConfigError
from al_loop.state.model_registry import Model
from al_loop.state.workspace import Workspace


@pytest.fixture
def spec(tmp_path: Path) -> BenchmarkSpec:
    return transfer_spec(tmp_path)


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> FakeTrainings:
    """Trainings that only write weights; an initial model is named after its weights."""

    def start(_: Any, folder: Path, source: Model | None, keep: str, *rest: Any) -> Model:
        folder.mkdir(parents=True, exist_ok=True)  # of a run that failed
        name = f"{keep} of {source.id if source else 'imagenet'}"
        return Model(name, None, "pretrain", None, "", "", config_sha256=None, folder=folder)

    monkeypatch.setattr(transfer, "write_start", start)
    monkeypatch.setattr(transfer, "trained_parameters", lambda *_: 1000)
    return fake_trainings(monkeypatch)


@pytest.mark.integration
def test_cells_of_a_pretraining_share_its_model(
    spec: BenchmarkSpec, workspace: Workspace, tmp_path: Path, trainings: FakeTrainings
) -> None:
    outcome, _ = run(tmp_path / "out", spec, workspace)
    trained = [(t.name, t.images, t.began_with, t.frozen) for t in trainings.trained]
    trainings.trained.clear()
    expected = []
    for pretraining, begins in (("imagenet", ""), ("renders", "nothing"), ("both", "encoder")):
        name = f"pretrained/{pretraining}/seed-0"
        if begins:
            expected.append((name, 6, f"{begins} of imagenet", False))
        source = name if begins else "imagenet"
        for encoder in ("trainable", "frozen"):
            for decoder, keep in (("kept", "all"), ("new", "encoder")) if begins else (("new", "encoder"),):
                cell = f"{pretraining}/{encoder}-encoder/{decoder}-decoder/real-4/seed-0"
                expected.append((cell, 4, f"{keep} of {source}", encoder == "frozen"))
    assert trained == expected
    assert [row.run.name for row in outcome.rows] == [
        name for name, *_ in expected if "pretrained" not in name
    ]
    assert not list((tmp_path / "out").rglob("weights.pth"))
    assert not list((tmp_path / "out").rglob("start"))
    again, _ = run(tmp_path / "out", spec, workspace, resume=True)
    assert trainings.names() == []
    assert [row.metrics for row in again.rows] == [row.metrics for row in outcome.rows]


@pytest.mark.integration
def test_a_pretraining_that_fails_leaves_the_others(
    spec: BenchmarkSpec, workspace: Workspace, tmp_path: Path, trainings: FakeTrainings
) -> None:
    trainings.fail = failing("pretrained/renders")
    outcome, _ = run(tmp_path / "out", spec, workspace)
    assert {row.run.pretraining for row in outcome.rows if row.failure} == {"renders"}
    assert {row.run.pretraining for row in outcome.rows if row.metrics} == {"imagenet", "both"}
    report = report_of(outcome, LabellingCost())
    assert any(line.startswith("failed: renders/") for line in report.summary)
    write_report(report, tmp_path / "out")


def test_the_step_of_convergence_is_the_first_near_the_best_ap() -> None:
    found = _convergence([0.1, 0.47, 0.48, 0.5, 0.4], 45)  # every 3 steps, at most 20 times
    assert found == {
        "validations": [(3, 0.1), (6, 0.47), (9, 0.48), (12, 0.5), (15, 0.4)],
        "convergence_step": 9,
    }
    assert _convergence([0.0] * 20, 50)["validations"][-1] == (50, 0.0)


@pytest.mark.integration
def test_a_model_that_begins_with_random_weights_is_refused(
    spec: BenchmarkSpec, workspace: Workspace, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r'model\.config = "small" has no ImageNet weights'):
        run(tmp_path / "out", spec, workspace)


@pytest.mark.train
@pytest.mark.slow
def test_real_trainings_are_reported(spec: BenchmarkSpec, workspace: Workspace, tmp_path: Path) -> None:
    model = msgspec.structs.replace(CONFIG.model, config="lite", image_size=(64, 64))
    config = msgspec.structs.replace(CONFIG, model=model)
    outcome, _ = run(tmp_path / "out", spec, workspace, config)
    assert [row.failure for row in outcome.rows if row.failure] == []
    table, data, page = write_report(report_of(outcome, LabellingCost()), tmp_path / "out")
    with table.open() as file:
        rows = [row for row in csv.DictReader(file) if row["set"] == "validation"]
    assert len(rows) == 10
    counts = {row["encoder"]: int(row["trained_parameters"]) for row in rows}
    assert 0 < counts["frozen"] < counts["trainable"]
    assert all(float(row["seconds_image"]) > 0 and 1 <= int(row["convergence_step"]) <= 3 for row in rows)
    assert [len(cell["details"]["validations"]) for cell in json.loads(data.read_text())["runs"]] == [3] * 10
    text = page.read_text()
    assert text.count("<svg") == 2
    assert "http" not in text.replace("http-equiv", "")
