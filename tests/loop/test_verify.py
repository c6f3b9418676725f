"""Manifests: complete, checkable, enough to repeat the selection. Network and server are fakes."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from support.small_loop import small_loop

from al_loop.core.errors import DataError, WorkspaceError
from al_loop.core.files import file_sha256, read_json, write_json
from al_loop.evaluation.model_quality import ModelQuality
from al_loop.loop.manifest import complete_manifests
from al_loop.loop.verify import reproduce, verify
from al_loop.models import evaluation
from al_loop.state.file_hashes import note_file
from al_loop.state.score_key import ScoreKey
from al_loop.state.workspace import Workspace
from strategies import Calibration, Strategy

ROOT = Path(__file__).parents[2]


@pytest.fixture
def make(workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Workspace]:
    """Run cycles to their end; people find one bolt in every image."""
    return small_loop(workspace, tmp_path, monkeypatch).run


def changed(findings: Sequence[Any]) -> list[str]:
    return [finding.text for finding in findings if finding.changed]


def manifest(workspace: Workspace, number: int) -> dict[str, Any]:
    return dict(read_json(workspace.cycle_dir(number) / "manifest.json"))


def quality(value: float) -> Callable[..., ModelQuality]:
    """Return a function that knows a model's quality: count R² and AUC have this value."""

    def known(_: Any, __: Any, strategy: Strategy, ___: Any) -> ModelQuality:
        calibration = Calibration(1.0, (-0.5, 0.2), value, 0.1, 0.3)
        return ModelQuality(
            value if strategy.uses_count_r2 else None,
            calibration if "calibration" in strategy.needs else None,
        )

    return known


@pytest.mark.integration
@pytest.mark.parametrize("strategy", ["dbal", "random", "coverage", "calibrated", "coreset", "margin"])
def test_the_second_cycle_is_selected_again(
    make: Callable[..., Workspace], strategy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Later labels and evaluations do not change the picks."""
    monkeypatch.setattr(evaluation, "validation_quality", quality(0.4))
    workspace = make(strategy, cycles=3)
    summary = json.loads((workspace.cycle_dir(2) / "select" / "known.json").read_text())
    assert summary["count_r2"] == (0.4 if strategy in ("dbal", "coverage", "margin") else None)
    assert (summary["calibration"] is not None) == (strategy == "calibrated")
    monkeypatch.setattr(evaluation, "validation_quality", quality(0.9))
    for cycle in (1, 2, 3):
        (finding,) = reproduce(workspace, cycle)
        assert (finding.changed, finding.text) == (False, "the same 10 picks in the same order")
        assert changed(verify(workspace, cycle)) == []


@pytest.mark.integration
def test_with_labelled_candidates_too(make: Callable[..., Workspace]) -> None:
    workspace = make("dbal", cycles=2, candidates="all")
    assert not reproduce(workspace, 2)[0].changed


@pytest.mark.integration
def test_a_segmentation_cycle_of_0_1_is_selected_again(make: Callable[..., Workspace]) -> None:
    """Its scores have no masks, and lie where those of a workspace for boxes do."""
    workspace = make("dbal", cycles=2)
    path = workspace.cycle_dir(2) / "manifest.json"
    content = manifest(workspace, 2)
    content["settings"]["task"] = "segmentation"
    write_json(path, content)
    note_file(workspace, path, file_sha256(path))
    assert reproduce(workspace, 2)[0].text == "the same 10 picks in the same order"


@pytest.mark.integration
def test_the_manifest_follows_its_schema(make: Callable[..., Workspace]) -> None:
    schema = json.loads((ROOT / "docs" / "manifest.schema.json").read_text())
    workspace = make(cycles=2)
    for cycle in (1, 2):
        jsonschema.validate(manifest(workspace, cycle), schema)
    assert sum(p["audit"] for p in manifest(workspace, 1)["picks"]) == 1
    assert manifest(workspace, 1)["self_training"] is None
    broken = {**manifest(workspace, 1), "outcome": "maybe"}
    with pytest.raises(jsonschema.ValidationError, match="'maybe' is not one of"):
        jsonschema.validate(broken, schema)


@pytest.mark.integration
def test_the_manifest_says_which_training_made_the_candidate(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = small_loop(workspace, tmp_path, monkeypatch)
    loop.compared = {"used": False, "reason": "AP 0.400 → 0.300: worse"}
    written = manifest(loop.run(cycles=1), 1)
    assert written["self_training"] == loop.compared
    jsonschema.validate(written, json.loads((ROOT / "docs" / "manifest.schema.json").read_text()))


@pytest.mark.integration
def test_every_change_is_said(make: Callable[..., Workspace]) -> None:
    workspace = make(cycles=1)
    root, store = workspace.root, workspace.store
    pick = manifest(workspace, 1)["picks"][0]["image_id"]
    assert changed(verify(workspace, 1)) == []

    (root / "models" / "m0" / "weights.pth").write_bytes(b"other")
    assert changed(verify(workspace, 1)) == ["the weights of m0: changed"]
    (root / "models" / "m0" / "weights.pth").write_bytes(b"m0")

    column = workspace.scores_dir(ScoreKey.of(workspace.config, "m0")) / "embeddings.bin"
    original, name = column.read_bytes(), str(column.relative_to(root))
    column.unlink()
    assert changed(verify(workspace, 1)) == [f"{name}: gone"]
    with pytest.raises(WorkspaceError, match=r"the selection of cycle 1 cannot be repeated: .*: gone"):
        reproduce(workspace, 1)
    column.write_bytes(bytes([original[0] ^ 1]) + original[1:])
    assert changed(verify(workspace, 1)) == [f"{name}: changed"]
    column.write_bytes(original + b"of the next cycle")
    assert changed(verify(workspace, 1)) == []
    column.write_bytes(original)

    picture = root / store.rows("SELECT file FROM images WHERE id = ?", pick)[0]["file"]
    original = picture.read_bytes()
    picture.write_bytes(original + b" ")
    assert changed(verify(workspace, 1)) == [f"image {pick[:12]}: changed"]
    picture.write_bytes(original)

    store.execute("UPDATE labels SET status = 'empty', boxes = '[]' WHERE image_id = ?", pick)
    findings = verify(workspace, 1)
    assert changed(findings) == []  # people may do so
    assert any(f.text == f"people have changed 1 of these labels since: {pick[:12]}" for f in findings)
    labels = workspace.cycle_dir(1) / "pull" / "labels.json"
    write_json(labels, read_json(labels)[1:])
    assert changed(verify(workspace, 1)) == ["the snapshot of the labels, 9 images: changed"]

    pool = workspace.cycle_dir(1) / "pool.json"
    write_json(pool, read_json(pool)[::-1])
    assert "the list of the pool, 60 images: changed" in changed(verify(workspace, 1))


@pytest.mark.integration
def test_an_edited_config_is_a_change(workspace: Workspace, make: Callable[..., Workspace]) -> None:
    """The hash is that of the database; without one there, that of the file in the manifest."""
    config = workspace.model_dir("m0") / "config.json"
    config.write_text('{"max_per_img": 100}')
    workspace.store.execute("UPDATE models SET config_sha256 = ?", file_sha256(config))
    finished = make(cycles=1)
    assert "the config of m0: as before" in [finding.text for finding in verify(finished, 1)]
    config.write_text('{"max_per_img": 1}')
    assert changed(verify(finished, 1)) == ["the config of m0: changed"]
    older = workspace.model_dir("cycle-1") / "config.py"
    older.write_text("max_per_img = 100\n")
    (finished.cycle_dir(1) / "manifest.json").unlink()
    complete_manifests(finished)
    older.write_text("max_per_img = 1\n")
    assert changed(verify(finished, 1)) == ["the config of m0: changed", "the config of cycle-1: changed"]


def test_picks_that_would_be_others(make: Callable[..., Workspace]) -> None:
    workspace = make("random", cycles=1)
    path = workspace.cycle_dir(1) / "manifest.json"
    record = read_json(path)
    record["settings"]["cycle"]["seed"] = 1
    write_json(path, record)
    with pytest.raises(WorkspaceError, match="the manifest: changed"):
        reproduce(workspace, 1)
    note_file(workspace, path, file_sha256(path))  # as if the cycle had been selected so
    findings = reproduce(workspace, 1)
    assert len(changed(findings)) >= 5
    assert changed(findings)[0].startswith("rank ")


def test_manifests_that_are_not_there(make: Callable[..., Workspace]) -> None:
    workspace = make(cycles=1)
    with pytest.raises(DataError, match="no cycle 7; there are 1 to 1"):
        verify(workspace, 7)
    path = workspace.cycle_dir(1) / "manifest.json"
    for text, says in (
        ('{"cycle": 1}', "recorded less than this one checks"),
        ("{", "is damaged"),
        ('{"manifest": 9}', "has format 9"),
        ('{"manifest": 2}', "is damaged .*missing required field `cycle`"),
        (
            path.read_text().replace('"cycle": 1,', '"cycle": 2,', 1),
            "is damaged .expected the manifest of cycle 1, got that of 2",
        ),
        (path.read_text().replace('"hash": ', '"hasj": ', 1), "is damaged .*`hash` - at `..pool`"),
        ("[" * 100_000, "is damaged"),
    ):
        path.write_text(text)
        with pytest.raises(WorkspaceError, match=says):
            verify(workspace, 1)
    path.unlink()
    with pytest.raises(WorkspaceError, match=r"is missing. The next run writes it again: al-loop cycle"):
        reproduce(workspace, 1)
    workspace.store.execute("UPDATE cycles SET outcome = NULL")
    with pytest.raises(DataError, match="cycle 1 is under way"):
        verify(workspace, 1)
