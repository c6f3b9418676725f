"""Files that killed runs leave, and their deletion by gc."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from al_loop.models.gc import gc
from al_loop.state import leftovers as module
from al_loop.state import model_registry
from al_loop.state.leftovers import images_without_row, leftovers
from al_loop.state.workspace import Workspace
from render.core.tempdirs import Scratch

pytestmark = pytest.mark.usefixtures("temporary")


def write(path: Path, size: int = 1000) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    return path


def age(path: Path, seconds: float = 7200.0) -> None:
    then = time.time() - seconds
    for item in [*path.rglob("*"), path]:
        os.utime(item, (then, then))


def named(workspace: Workspace) -> set[str]:
    return {str(item.path.relative_to(workspace.root)) for item in leftovers(workspace) if not item.temporary}


def begin_cycle(workspace: Workspace, number: int, outcome: str | None = None) -> None:
    workspace.store.execute(
        "INSERT INTO cycles (number, k, settings, model_id, outcome, started_at) "
        "VALUES (?, 2, '{}', 'm0', ?, 'now')",
        *(number, outcome),
    )


@pytest.fixture
def used(filled: Workspace) -> Workspace:
    """A workspace with a model in use, a finished cycle and an open one."""
    for name in ("m0", "m1"):
        write(filled.model_dir(name) / "weights.pth")
        write(filled.root / "scores" / name / "thr-0.05" / "journal.jsonl")
        model_registry.register_model(filled, name, "import", "0" * 64, None, None)
    model_registry.promote(filled, model_registry.get_model(filled, "m0"), "test")
    begin_cycle(filled, 1, "kept")
    begin_cycle(filled, 2)
    for number in (1, 2):
        write(filled.cycle_dir(number) / "pool.json")
        write(filled.cycle_dir(number) / "select" / "stage.json")
    return filled


def test_nothing_is_left_in_a_workspace_that_works(used: Workspace) -> None:
    training = used.root / "models" / "cycle-2.partial" / "training"
    write(training / "train.log")  # the open cycle continues it
    write(used.cycle_dir(2) / "push.partial" / ".inputs")
    write(used.server_home / "backup-abc_1234" / "x")  # one is being made
    write(used.root / "report.html.partial")  # as well
    held = Scratch("inbox", memory=False)
    assert list(leftovers(used)) == []
    held.close()


def test_a_gc_that_was_killed_half_way_is_finished_by_the_next(used: Workspace) -> None:
    used.store.execute("UPDATE models SET removed_at = 'now' WHERE id = 'm1'")
    (used.model_dir("m1") / "weights.pth").unlink()  # half of it
    write(used.model_dir("m1") / "training" / "train.log")
    assert named(used) == {"models/m1", "scores/m1"}
    assert gc(used, [], dry_run=False)[-1].startswith("freed 0.0 MB")
    assert not used.model_dir("m1").exists()
    assert not (used.root / "scores" / "m1").exists()
    assert used.model_dir("m0").is_dir()


def test_every_leftover_of_a_killed_run_goes(used: Workspace) -> None:
    left = [
        used.images / "ab" / f"{'ab' * 32}.png",  # a killed pool add
        used.images / "ab" / "x.png.partial",
        used.root / "scores" / "gone" / "journal.jsonl",  # its model is gone
        used.root / "cycles" / "3" / "pool.json",  # killed before its row
        used.cycle_dir(1) / "train.partial" / ".inputs",  # its cycle is over
        used.root / "models" / "cycle-1.partial" / "training" / "train.log",
        used.root / "models" / "pretrain-9.partial" / "training" / "train.log",
        used.synthetic / "dice" / "images" / "000001.jpg.partial",
        used.root / "export" / "m0" / "m0.onnx.partial",
        used.root / "training-images" / "ab" / "x.png.partial",
    ]
    old = [
        used.server_home / "backup-abcd_123" / "label_studio.sqlite3",
        used.server_home / "data.partial" / "x",
        used.server_home / "media" / "project-1" / "x.png.partial",
        used.root / "report.html.partial",
        used.cache / "ab" / "x.jpg.99.partial",
    ]
    for path in (*left, *old):
        write(path)
    for path in old:
        age(path.parent if path.parent.name in ("backup-abcd_123", "data.partial") else path)
    assert len(named(used)) == len(left) + len(old)
    lines = gc(used, ["m1"], dry_run=True)
    assert lines[-1] == "would free 0.0 MB: run again without --dry-run"
    assert all(path.is_file() for path in (*left, *old))
    gc(used, ["m1"], dry_run=False)
    assert not [path for path in (*left, *old) if path.exists()]
    assert gc(used, ["m1"], dry_run=False) == ["freed 0.0 MB"]
    assert used.store.count("SELECT count(*) FROM images") == len(
        [path for path in used.images.rglob("*") if path.is_file()]
    )


def test_a_training_that_would_go_on_stays(used: Workspace) -> None:
    """The next `pretrain` makes pretrain-1, and continues a failed one."""
    for number in (1, 2):
        write(used.root / "models" / f"pretrain-{number}.partial" / "training" / "last.pth")
        used.store.execute(
            "INSERT INTO stages (job, name, input_hash, state, started_at) "
            "VALUES (?, 'pretrain', 'h', 'failed', 'now')",
            f"pretrain-{number}",
        )
    assert named(used) == {"models/pretrain-2.partial"}


def test_photographs_of_a_newer_database_stay(used: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """After an old database was restored, many files have no row and may be the only copies."""
    monkeypatch.setattr(module, "BATCH", 3)
    monkeypatch.setattr("al_loop.models.gc.BATCH", 3)
    for table in ("labels", "sets", "pixels", "label_history", "images"):
        used.store.execute(f"DELETE FROM {table}")
    files = [path for path in used.images.rglob("*") if path.is_file()]
    assert len(list(images_without_row(used))) == len(files) == 10
    lines = gc(used, ["m1"], dry_run=False)
    assert lines[0].startswith(
        "10 files in images/ have no row in the database, more than a killed pool add leaves. They are kept."
    )
    assert f"al-loop pool add {used.images}" in lines[0]
    assert all(path.is_file() for path in files)
    assert gc(used, ["m1"], dry_run=False, pictures=True)[0].startswith("images/")
    assert not any(path.exists() for path in files)


def test_whole_cycles_and_models_of_a_newer_database_stay(used: Workspace) -> None:
    for path in (
        used.root / "cycles" / "7" / "manifest.json",
        used.root / "models" / "cycle-7" / "weights.pth",
    ):
        write(path)
    write(used.root / "scores" / "cycle-7" / "journal.jsonl")
    assert named(used) == set()
    assert [path.name for path in module.foreign_folders(used)] == ["cycle-7", "7"]


def test_temporary_folders_go_when_their_process_has(used: Workspace, temporary: Path) -> None:
    code = (
        "import sys, tempfile, time; tempfile.tempdir = sys.argv[1]\n"
        "from render.core.tempdirs import scratch_folder\n"
        "with scratch_folder('inbox') as folder:\n"
        "    (folder / '0.jpg').write_bytes(b'x'); print(folder, flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(temporary)], stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        theirs = Path(other.stdout.readline().strip())
        gc(used, ["m1"], dry_run=False)
        assert (theirs / "0.jpg").is_file()
        other.send_signal(signal.SIGKILL)
    lines = gc(used, ["m1"], dry_run=False)
    assert f"{theirs}, left by a run that was killed: 0.0 MB" in lines
    assert list(temporary.iterdir()) == []
