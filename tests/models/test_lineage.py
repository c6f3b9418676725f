"""Models as a tree, and the files that gc deletes."""

from __future__ import annotations

from pathlib import Path

import pytest

from al_loop.core.errors import ModelError
from al_loop.core.files import write_json
from al_loop.models.gc import gc
from al_loop.models.lineage import describe, tree
from al_loop.state import model_registry
from al_loop.state.workspace import Workspace
from al_loop.structures.metrics import Metrics


def add(
    workspace: Workspace, name: str, parent: str | None = None, *, used: bool = True, cycle: int | None = None
) -> None:
    folder = workspace.model_dir(name)
    folder.mkdir(parents=True)
    (folder / "weights.pth").write_bytes(b"w" * 1_000_000)
    scores = workspace.root / "scores" / name
    scores.mkdir(parents=True)
    (scores / "shard-000000.npz").write_bytes(b"s" * 500_000)
    model = model_registry.register_model(
        workspace, name, "cycle" if cycle else "pretrain", "0" * 64, parent, cycle
    )
    model_registry.save_metrics(
        workspace, name, "v", Metrics(0.5, 0.7, 0.6, {"bolt": 0.5, "nut": None}, 9, 18, 0.41, 0.58)
    )
    if used:
        model_registry.promote(workspace, model, f"{name} is good")


pytestmark = pytest.mark.usefixtures("temporary")


@pytest.fixture
def family(workspace: Workspace) -> Workspace:
    """M0, a refused and a promoted child of it, a grandchild, and a second root."""
    add(workspace, "pretrain-1")
    add(workspace, "cycle-1", "pretrain-1", used=False, cycle=1)
    add(workspace, "cycle-2", "pretrain-1", cycle=2)
    add(workspace, "cycle-3", "cycle-2", cycle=3)
    add(workspace, "pretrain-2", used=False)
    return workspace


def test_the_tree(family: Workspace) -> None:
    names = [line.split("  AP ")[0].rstrip() for line in tree(family)]
    assert names == ["  pretrain-1", "  └ cycle-1", "  └ cycle-2", "*   └ cycle-3", "  pretrain-2"]
    lines = tree(family)
    assert all("AP 0.500 (0.410 to 0.580)  AP50 0.700" in line for line in lines)
    assert [line.endswith("never in use") for line in lines] == [False, True, False, False, True]


@pytest.mark.integration
def test_years_of_cycles_stay_on_the_screen(workspace: Workspace) -> None:
    for number in range(1200):
        parent = f"cycle-{number - 1}" if number else None
        model_registry.register_model(workspace, f"cycle-{number}", "cycle", "0" * 64, parent, number)
    model_registry.promote(workspace, model_registry.get_model(workspace, "cycle-1199"), "x")
    lines = tree(workspace)
    assert len(lines) == 1200
    assert lines[-1].startswith("*               └ cycle-1199 ")
    assert lines[-1].endswith("from cycle-1198")


def test_no_model_yet(workspace: Workspace) -> None:
    assert tree(workspace) == [
        "no model yet. Make one: al-loop cycle, al-loop pretrain, or al-loop models import CHECKPOINT"
    ]


def test_all_about_a_model(family: Workspace) -> None:
    lines = describe(family)
    assert lines[0] == "model      cycle-3"
    assert lines[1].startswith("made by    cycle 3, from cycle-2 ← pretrain-1, 20")
    assert "validation: not evaluated" not in lines  # there is no set
    assert any(line.startswith("in use     since") and line.endswith("cycle-3 is good") for line in lines)
    assert not any(line.startswith("training") for line in lines)
    notes = {"images": 25, "steps": 400, "precision": "bf16"}
    folder = model_registry.current_model(family).folder
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "stage.json", {"output": notes})
    assert "training   25 images, 400 steps, bf16" in describe(family)
    summary = {"used": False, "reason": "AP 0.500 → 0.490"}
    write_json(folder / "stage.json", {"output": {**notes, "self_training": summary}})
    assert "self-training not used: AP 0.500 → 0.490" in describe(family)
    # al-loop 0.1 counted epochs; before, no precision was stored.
    write_json(folder / "stage.json", {"output": {"images": 25, "epochs": 6}})
    assert "training   25 images, 6 epochs" in describe(family)
    for damaged in ({"output": {"epochs": 6}}, {"output": {"notes": 3}}, []):
        write_json(folder / "stage.json", damaged)
        assert not any(line.startswith(("training", "note")) for line in describe(family))
    for text in ("", "[]", '{"sets": {"validation": {"ap": 3}}, "against": "x"}', "[" * 100_000):
        (folder / "comparison.json").write_text(text)
        assert describe(family)[-1].startswith("comparison.json is damaged")
    with pytest.raises(ModelError, match="no model 'm9'"):
        describe(family, "m9")


def with_weights(workspace: Workspace) -> set[str]:
    return {path.parent.name for path in workspace.root.glob("models/*/weights.pth")}


def test_what_was_never_in_use_goes(family: Workspace) -> None:
    lines = gc(family, [], dry_run=True)
    assert lines == [
        "cycle-1, never in use: 1.5 MB",
        "pretrain-2, never in use: 1.5 MB",
        "would free 3.0 MB: run again without --dry-run",
    ]
    assert len(with_weights(family)) == 5
    assert gc(family, ["pretrain-2"], dry_run=False) == ["cycle-1, never in use: 1.5 MB", "freed 1.5 MB"]
    assert with_weights(family) == {"pretrain-1", "cycle-2", "cycle-3", "pretrain-2"}
    assert {p.name for p in (family.root / "scores").iterdir()} == {
        "pretrain-1",
        "cycle-2",
        "cycle-3",
        "pretrain-2",
    }
    assert any("cycle-1" in line and "files deleted" in line for line in tree(family))
    with pytest.raises(ModelError, match="the files of cycle-1 were deleted by gc on 20"):
        model_registry.promote(family, model_registry.get_model(family, "cycle-1"), "x")
    assert gc(family, ["pretrain-2"], dry_run=False) == ["freed 0.0 MB"]


def test_what_an_open_cycle_needs_stays(family: Workspace) -> None:
    family.store.execute(
        "INSERT INTO cycles VALUES (1, 2, '{}', 'pretrain-2', NULL, NULL, 'now', NULL, 0, 0)"
    )
    partial = family.root / "models" / "cycle-1.partial"
    partial.mkdir()
    lost = family.root / "models" / "cycle-9.partial"
    lost.mkdir()
    (lost / "x").write_bytes(b"x" * 10_000)
    assert gc(family, [], dry_run=False) == [
        "models/cycle-9.partial, left by a run that was killed: 0.0 MB",
        "freed 0.0 MB",
    ]
    assert partial.is_dir()
    assert not lost.exists()
    assert len(with_weights(family)) == 5


def test_a_name_that_is_wrong_deletes_nothing(family: Workspace) -> None:
    with pytest.raises(ModelError, match="no model 'cycle-8'"):
        gc(family, ["cycle-8"], dry_run=False)
    assert len(with_weights(family)) == 5


def test_a_set_is_described_by_name(family: Workspace, tmp_path: Path) -> None:
    family.store.execute(
        "INSERT INTO images VALUES ('i', 'i.png', 'i', 9, 9, 'i.png', 'validation', '2026-01-01', 1)"
    )
    family.store.execute("INSERT INTO sets VALUES ('night', 'i')")
    assert "night: not evaluated" in describe(family)
    model_registry.save_metrics(
        family, "cycle-3", "n", Metrics(0.3, 0.4, 0.3, {"bolt": 0.3, "nut": None}, 1, 1), "night"
    )
    lines = describe(family)
    assert "night: AP 0.300, AP50 0.400, AP75 0.300, 1 images" in lines
    assert "  nut: no box" in lines
