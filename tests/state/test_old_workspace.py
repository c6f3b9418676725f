"""A workspace of al-loop 0.1 with a waiting cycle opens and continues.

`workspace_0_1.json` was written by 0.1: the database as SQL, its schema's number, and every file.
"""

from __future__ import annotations

import base64
import json
import sqlite3
from pathlib import Path

import pytest
from support.fake_model import score
from support.metrics import compared, metrics
from support.small_loop import SmallLoop

from al_loop.core.config import load_config
from al_loop.core.console import Silent
from al_loop.core.frozen_settings import hashed, thawed
from al_loop.labelling import sync
from al_loop.loop.cycle import run_cycle
from al_loop.loop.verify import reproduce, verify
from al_loop.models import evaluation, model_training, scoring
from al_loop.state import model_registry
from al_loop.state.database.cycle_table import read_cycle
from al_loop.state.database.migrations import MIGRATIONS
from al_loop.state.database.pick_table import picks_of
from al_loop.state.database.stage_table import stages_of
from al_loop.state.workspace import Workspace, open_workspace

FIXTURE = json.loads(Path(__file__).with_name("workspace_0_1.json").read_text())


def unpack(root: Path) -> Path:
    """Write the workspace as 0.1 left it."""
    for name, content in FIXTURE["files"].items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(
            content["text"].encode() if "text" in content else base64.b64decode(content["base64"])
        )
    database = sqlite3.connect(root / "al-loop.db")
    database.executescript("\n".join(FIXTURE["database"]))
    database.execute(f"PRAGMA user_version = {FIXTURE['schema']}")
    database.close()
    return root


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Workspace, SmallLoop]:
    workspace = open_workspace(unpack(tmp_path / "old"))
    loop = SmallLoop(workspace)
    monkeypatch.setattr(scoring, "score", score)
    monkeypatch.setattr(model_training, "train_model", loop.train)
    monkeypatch.setattr(evaluation, "evaluate_model", lambda *_: metrics(0.5, bolt=0.5, nut=None))
    monkeypatch.setattr(evaluation, "compare_models", lambda *_: compared(0.0, -0.1, 0.1))
    monkeypatch.setattr(sync, "push_picks", loop.push)
    monkeypatch.setattr(sync, "pull_labels", loop.pull)
    return workspace, loop


def test_the_fixture_is_of_the_version_before() -> None:
    assert FIXTURE["schema"] < len(MIGRATIONS)
    text = FIXTURE["files"]["al-loop.toml"]["text"]
    assert "explore = 0.1" in text
    assert "audit = 0.1" in text


def test_settings_and_frozen_settings_get_their_new_names(old: tuple[Workspace, SmallLoop]) -> None:
    workspace, _ = old
    assert load_config(workspace.root / "al-loop.toml").cycle.explore_fraction == 0.1
    cycle = read_cycle(workspace.store, 1)
    assert cycle is not None
    assert thawed(cycle.settings).cycle.random_audit_fraction == 0.1
    assert thawed(cycle.settings).cycle.k == 4


def test_a_training_of_a_frozen_cycle_lasts_as_long_and_keeps_its_hash(
    old: tuple[Workspace, SmallLoop],
) -> None:
    """25 images in batches of 4 are 7 steps; 0.1 counted 50 epochs, and validated after each."""
    cycle = read_cycle(old[0].store, 1)
    assert cycle is not None
    settings = thawed(cycle.settings)
    assert settings.train.duration(25) == (350, 7)
    for table in ("pretrain", "train", "cycle"):
        assert hashed(settings, table) == json.loads(cycle.settings)[table]


def test_a_waiting_cycle_goes_on_with_the_same_picks_and_tasks(old: tuple[Workspace, SmallLoop]) -> None:
    """Scoring, selection and push of 0.1 are not repeated."""
    workspace, loop = old
    before = picks_of(workspace.store, 1)
    hashes = {stage.name: stage.input_hash for stage in stages_of(workspace.store, "cycle-1")}
    loop.answered = 0.5
    assert not run_cycle(workspace, None, Silent()).finished
    loop.answered = 1.0
    assert run_cycle(workspace, None, Silent()).finished
    assert loop.pushed == []
    assert loop.images == [4]
    after = picks_of(workspace.store, 1)
    assert [(p.image_id, p.task_key) for p in after] == [(p.image_id, p.task_key) for p in before]
    now = {stage.name: stage.input_hash for stage in stages_of(workspace.store, "cycle-1")}
    assert {name: now[name] for name in hashes} == hashes
    assert model_registry.current_model(workspace).id == "cycle-1"
    assert not any(finding.changed for finding in verify(workspace, 1))
    assert not any(finding.changed for finding in reproduce(workspace, 1))
