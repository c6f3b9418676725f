"""Python that a workspace names runs only where its user made or approved it."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from shlex import quote

import pytest
from support.factories import CLASSES, write_checkpoint, write_coco_set

from al_loop.core.console import Silent
from al_loop.core.errors import ModelError
from al_loop.core.files import file_sha256, read_json
from al_loop.core.resources import resource
from al_loop.models.pretrain import import_checkpoint
from al_loop.models.trust import require, would_run
from al_loop.state import model_registry
from al_loop.state.workspace import Workspace, init_workspace, open_workspace

pytestmark = pytest.mark.integration

Run = Callable[..., tuple[int, str, str]]


def python_config(folder: Path, trace: Path) -> Path:
    """Write a config that leaves a trace when it is executed."""
    path = folder / "mine.py"
    base = str(resource("configs/model/small.py"))
    path.write_text(
        f"_base_ = {base!r}\nmade = str(__import__('os').makedirs({str(trace)!r}, exist_ok=True))\n"
    )
    return path


def name_config(root: Path, name: str) -> None:
    path = root / "al-loop.toml"
    path.write_text(path.read_text().replace('config = "small"', f'config = "{name}"'))


@pytest.fixture
def foreign(small: Workspace, tmp_path: Path) -> Path:
    """A copy of a workspace with settings that name a Python file in it."""
    root = tmp_path / "from elsewhere"
    shutil.copytree(small.root, root)
    python_config(root, tmp_path / "trace")
    name_config(root, "mine.py")
    return root


def test_in_ones_own_workspace_a_config_is_executed(small: Workspace, tmp_path: Path) -> None:
    python_config(small.root, tmp_path / "trace")
    name_config(small.root, "mine.py")
    workspace = open_workspace(small.root)
    assert workspace.trusted
    model = import_checkpoint(workspace, str(write_checkpoint(tmp_path / "x.pth")), None, Silent())
    assert (tmp_path / "trace").exists()
    assert model.config_sha256 == file_sha256(model.folder / "config.json")
    assert not (model.folder / "config.py").exists()


def test_in_a_foreign_workspace_nothing_runs_before_it_is_approved_of(
    foreign: Path, tmp_path: Path, run: Run
) -> None:
    checkpoint, trace = write_checkpoint(tmp_path / "x.pth"), tmp_path / "trace"
    digest = file_sha256(foreign / "mine.py")
    for command in (
        ("models", "import", checkpoint),
        ("pretrain", "--data", tmp_path / "pool" / "coco.json"),
    ):
        status, _, err = run("-w", foreign, *command)
        assert status == 1
        assert f"model.config names {foreign / 'mine.py'} (SHA-256 {digest})" in err
        assert f"al-loop --workspace {quote(str(foreign))} models trust" in err
        assert not trace.exists()
    with pytest.raises(ModelError, match=r"was not made here by you, and would run: model\.config"):
        require(open_workspace(foreign))
    status, out, _ = run("-w", foreign, "models", "trust")
    assert status == 0
    assert out.splitlines() == [
        f"model.config: {foreign / 'mine.py'}, SHA-256 {digest}",
        f"approved: {foreign}",
    ]
    assert not trace.exists()
    assert run("-w", foreign, "models", "import", checkpoint)[0] == 0
    assert trace.exists()


def test_a_config_that_is_named_on_the_command_line_is_executed(
    foreign: Path, tmp_path: Path, run: Run
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    config = python_config(other, tmp_path / "other-trace")
    checkpoint = write_checkpoint(tmp_path / "x.pth")
    status, out, _ = run("-w", foreign, "models", "import", checkpoint, "--config", config)
    assert status == 0
    assert (tmp_path / "other-trace").exists()
    assert not (tmp_path / "trace").exists()
    assert "does not name its classes; they are taken to be, in this order: bolt, nut" in out


def test_a_foreign_workspace_with_nothing_to_run_needs_no_approval(
    small: Workspace, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does one without a recorded approval."""
    monkeypatch.setenv("AL_LOOP_STATE", str(tmp_path / "another-state"))
    assert not small.trusted
    assert would_run(small) == []
    assert run("-w", small.root, "models", "import", write_checkpoint(tmp_path / "x.pth"))[0] == 0
    model = model_registry.current_model(small)
    exported = shutil.copy(model.config, tmp_path / "exported.json")
    again = run("-w", small.root, "models", "import", model.weights, "--config", exported)
    assert again[0] == 0, again[2]


def test_a_model_of_a_foreign_workspace_imports_no_module(small: Workspace, tmp_path: Path, run: Run) -> None:
    model = import_checkpoint(small, str(write_checkpoint(tmp_path / "x.pth")), None, Silent())
    root = tmp_path / "from-elsewhere"
    shutil.copytree(small.root, root)
    file = root / "models" / model.id / "config.json"
    file.write_text(json.dumps({**read_json(file), "custom_imports": ["antigravity"]}))
    copy = open_workspace(root)
    copy.store.execute("UPDATE models SET config_sha256 = ?", file_sha256(file))
    copy.store.close()
    status, _, err = run("-w", root, "score")
    assert status == 1
    assert "names antigravity in custom_imports" in err
    assert "models trust" in err
    assert "antigravity" not in sys.modules
    assert f"custom_imports of {model.id}: antigravity" in run("-w", root, "models", "trust")[1]


def test_a_state_folder_that_cannot_be_written_is_said(
    small: Workspace, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("AL_LOOP_STATE", str(tmp_path / "file"))
    status, _, err = run("-w", small.root, "models", "trust")
    assert status == 1
    assert "AL_LOOP_STATE=FOLDER" in err
    assert run("init", tmp_path / "new", "--classes", "a")[0] == 0  # only the approval is missing


def test_an_edited_config_is_refused(small: Workspace, tmp_path: Path, run: Run) -> None:
    model = import_checkpoint(small, str(write_checkpoint(tmp_path / "x.pth")), None, Silent())
    config = read_json(model.config)
    config["model"]["test_cfg"]["rcnn"]["max_per_img"] = 1
    model.config.write_text(json.dumps(config))
    for command in (["score"], ["models", "export"]):
        status, _, err = run("-w", small.root, *command)
        assert status == 1
        assert f"config.json was changed: expected SHA-256 {model.config_sha256}" in err


def test_a_workspace_of_an_older_al_loop_goes_on(
    small: Workspace, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its model has a config.py without a hash, and no approval: the same boxes, and nothing to approve."""
    from mmengine.config import Config

    from al_loop.detector.config.stored_config import read_config

    model = import_checkpoint(small, str(write_checkpoint(tmp_path / "x.pth")), None, Silent())
    assert run("-w", small.root, "score")[0] == 0
    columns = sorted(path for path in (small.root / "scores").rglob("*") if path.is_file())
    before = {path: path.read_bytes() for path in columns}
    config = read_config(model.folder)
    Config(config.to_dict()).dump(model.folder / "config.py")
    model.config.unlink()
    small.store.execute("UPDATE models SET config_sha256 = NULL")
    monkeypatch.setenv("AL_LOOP_STATE", str(tmp_path / "another-state"))
    shutil.rmtree(small.root / "scores")
    assert run("-w", small.root, "score")[0] == 0
    assert {path: path.read_bytes() for path in columns} == before
    assert run("-w", small.root, "models", "export", "--format", "torchscript", "--check", "1")[0] == 0


def test_class_names_arrive_as_they_are(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """mmengine would substitute the first and execute the second."""
    monkeypatch.setenv("SECRET", "hunter2")
    names = ("{{$SECRET:x}}", '"; import os; os.mkdir("pwned")', "{{ fileDirname }}")
    root = tmp_path / "w"
    init_workspace(root, names)
    text = (root / "al-loop.toml").read_text()
    (root / "al-loop.toml").write_text(
        text.replace('config = "lite"', 'config = "small"\nimage_size = [96, 64]')
    )
    assert open_workspace(root).config.classes == names
    val = write_coco_set(tmp_path / "val", 2, names, seed=2)
    assert run("-w", root, "pool", "add-val", val)[0] == 0
    assert run("-w", root, "models", "import", write_checkpoint(tmp_path / "x.pth", names))[0] == 0
    status, _, err = run("-w", root, "models", "export", "--format", "torchscript", "--check", "1")
    assert status == 0, err
    for folder in (root / "models" / "import-1", root / "export" / "import-1"):
        assert tuple(read_json(folder / "config.json")["classes"]) == names
        assert "hunter2" not in "".join(path.read_text() for path in folder.glob("*.json"))
    assert not list(tmp_path.rglob("pwned"))


def test_classes_in_another_order_are_imported_and_said(small: Workspace, tmp_path: Path, run: Run) -> None:
    import torch

    state = torch.load(write_checkpoint(tmp_path / "x.pth"), weights_only=True)
    torch.save(
        {"meta": {"dataset_meta": {"classes": CLASSES[::-1]}}, "state_dict": state}, tmp_path / "turned.pth"
    )
    torch.save({"meta": {"CLASSES": ("cat", "dog")}, "state_dict": state}, tmp_path / "other.pth")
    status, out, _ = run("-w", small.root, "models", "import", tmp_path / "turned.pth")
    assert status == 0
    assert "warning:" in out
    assert "in another order (nut, bolt)" in out
    assert "in another order (nut, bolt)" in run("-w", small.root, "models", "show")[1]
    status, _, err = run("-w", small.root, "models", "import", tmp_path / "other.pth")
    assert status == 1
    assert "'cat', 'dog'; this workspace has 'bolt', 'nut'" in err
    status, out, _ = run("-w", small.root, "models", "import", tmp_path / "other.pth", "--classes-as-is")
    assert status == 0
    assert "classes taken by position: cat as bolt, dog as nut" in out
    weights = [
        torch.load(m.weights, weights_only=True)["state_dict"] for m in model_registry.all_models(small)
    ]
    bias = "roi_head.bbox_head.fc_cls.bias"
    assert weights[0][bias].tolist() == [state[bias][i].item() for i in (1, 0, 2)]
    assert weights[1][bias].tolist() == state[bias].tolist()
