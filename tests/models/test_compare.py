"""Comparison of two models: real models, and fake predictions with a known answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.factories import write_checkpoint
from support.report_page import Page, rects

from al_loop.core.console import Silent
from al_loop.core.errors import DataError, ModelError
from al_loop.images import repository
from al_loop.models import evaluation
from al_loop.models.compare import compare_models
from al_loop.models.pretrain import import_checkpoint
from al_loop.report.model_comparison import write_versus
from al_loop.state import model_registry
from al_loop.state.workspace import Workspace
from al_loop.structures.boxes import Boxes

pytestmark = pytest.mark.train


@pytest.fixture
def two(small: Workspace, tmp_path: Path) -> Workspace:
    """A workspace with two models of random weights."""
    for seed in range(2):
        import_checkpoint(small, str(write_checkpoint(tmp_path / f"{seed}.pth", seed=seed)), None, Silent())
    return small


def test_the_difference_to_the_model_in_use_is_kept(two: Workspace) -> None:
    first, second = (model_registry.get_model(two, f"import-{n}") for n in (1, 2))
    assert not (first.folder / "comparison.json").exists()
    comparison = json.loads((second.folder / "comparison.json").read_text())
    sets = comparison["sets"]["validation"]
    assert (comparison["against"], sets["images"], sets["resamples"]) == ("import-1", 4, 1000)
    before, after = (model_registry.saved_metrics(two, model.id) for model in (first, second))
    assert before is not None
    assert after is not None
    assert sets["ap"]["value"] == pytest.approx(after.ap - before.ap)


def test_a_model_that_finds_all_beside_one_that_finds_half(
    two: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    validation = repository.validation(two)

    def predict(workspace: Workspace, model: model_registry.Model, *_: Any) -> dict[str, Boxes]:
        seen = validation if model.id == "import-1" else validation[:2]
        return {i.image.id: Boxes(i.boxes.xyxy, i.boxes.labels, np.full(len(i.boxes), 0.9)) for i in seen}

    monkeypatch.setattr(evaluation, "predictions", predict)
    comparison = compare_models(two, "import-1", "import-2", "validation", Silent())
    lines = comparison.lines
    assert lines[0] == "import-1 − import-2 on 4 validation images, 1000 resamples"
    (ap,) = (line for line in lines if line.startswith("  AP  "))
    assert ap.split()[1].startswith("+0.")
    assert "95 % interval" in ap
    assert any(line.startswith("  AP of ") for line in lines)
    assert any("boxes" in line for line in lines)
    right = [line for line in lines if line.startswith("entirely right")]
    assert right[0].startswith("entirely right only with import-1: 2: ")
    assert right[1] == "entirely right only with import-2: 0"
    sources = {row["id"]: Path(row["source"]).name for row in two.store.rows("SELECT * FROM images")}
    named = set(right[0].partition("2: ")[2].split(", "))
    assert named == {sources[item.image.id] for item in validation[2:]}
    page = Page(write_versus(two, comparison))
    sections = page.root.all("section")
    assert [section.all("h2")[0].text for section in sections] == [
        "import-1 minus import-2",
        "Precision over recall",
        "Entirely right with import-1 alone: 2 images",
        "Entirely right with import-2 alone: 0 images",
    ]
    plots = sections[1].all("figure")
    assert [plot.all("figcaption")[0].text for plot in plots] == ["bolt, 4 objects", "nut, 4 objects"]
    assert all(len(plot.all("svg")) == 1 for plot in plots)
    assert "Solid: import-1, dashed: import-2." in sections[1].text
    cards = sections[2].all("figure", "card")
    assert {card.all("span", "name")[0].text for card in cards} == named
    for card in cards:
        truth, right, wrong = card.all("svg", "picture")
        assert rects(truth, "corrected") == rects(right, "predicted") != []
        assert rects(wrong, "predicted") == []
    assert str(two.root) not in page.source


def test_models_that_are_not_there_are_named(two: Workspace) -> None:
    with pytest.raises(ModelError, match="no model 'cycle-9'; there are: import-1, import-2"):
        compare_models(two, "cycle-9", "import-1", "validation", Silent())
    with pytest.raises(DataError, match="no evaluation set 'night'; existing sets: validation"):
        compare_models(two, "import-1", "import-2", "night", Silent())


def test_from_the_command_line(two: Workspace, tmp_path: Path, run: Any) -> None:
    def al_loop(*args: str) -> str:
        status, out, err = run("-w", two.root, "models", *args)
        return str(out) if status == 0 else f"{status}: {err}"

    page = tmp_path / "page.html"
    assert al_loop("compare", "import-2", "import-1", "--out", str(page)).endswith(f"with pictures: {page}\n")
    assert "<title>import-2 and import-1" in page.read_text()
    shown = al_loop("show", "import-2")
    assert "made by    import, from nothing" in shown
    assert "validation, minus import-1: " in shown
    assert al_loop("promote", "import-2", "--reason", "trusted more").startswith(
        "the current model is import-2"
    )
    assert "trusted more" in al_loop("show")
    assert al_loop("rollback").startswith("the current model is import-1 again")
    exported = al_loop("export", "--out", str(tmp_path / "out"), "--check", "2")
    assert "input 96x64 px, described in model." in exported
    assert (tmp_path / "out" / "config.json").is_file()
    assert al_loop("promote", "cycle-7").startswith("1: error: no model 'cycle-7'")
