from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from render.core import tempdirs
from render.core.tempdirs import Scratch


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempdirs, "_MEMORY", tmp_path)
    return tmp_path


def test_closing_leaves_nothing_behind(base: Path) -> None:
    made = Scratch()
    (made.folder / "deep").mkdir()
    (made.folder / "deep" / "file").write_text("x")
    made.close()
    made.close()
    assert list(base.iterdir()) == []


def test_the_rubbish_of_a_killed_process_goes_and_the_living_keep_theirs(base: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from render.core import tempdirs; tempdirs._MEMORY = "
        "Path(sys.argv[1]); "
        "made = tempdirs.Scratch(); (made.folder / 'left').write_text('x'); print(made.folder, flush=True); "
        "sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(base)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        theirs = Path(other.stdout.readline().strip())
        ours = Scratch()
        assert (theirs / "left").is_file()
        other.send_signal(signal.SIGKILL)
    third = Scratch()
    assert not theirs.exists()
    assert ours.folder.is_dir()
    assert len(list(base.iterdir())) == 4  # two folders, two locks
    ours.close()
    third.close()


def test_little_memory_leaves_it_to_the_disk(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempdirs, "_ROOM", 2**80)
    elsewhere = base / "disk"
    elsewhere.mkdir()
    monkeypatch.setattr(tempdirs.tempfile, "tempdir", str(elsewhere))
    made = Scratch()
    assert made.folder.parent == elsewhere
    made.close()
