"""A whole workspace to damage, and what the doctor says of it."""

from __future__ import annotations

import shlex
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.small_loop import SmallLoop, small_loop

from al_loop.core.config import FILE_NAME
from al_loop.core.console import Silent
from al_loop.core.files import file_sha256, read_json, write_json
from al_loop.doctor import Finding, examine
from al_loop.images.integrity import CheckDepth
from al_loop.loop.cycle import run_cycle
from al_loop.models import scoring
from al_loop.state.model_registry import register_model
from al_loop.state.score_key import ScoreKey
from al_loop.state.workspace import Workspace, init_workspace, open_workspace

#: What is done to the workspace, the check that reports it, and a part of its message.
Damage = tuple[Callable[[Path], object], str, str]


@dataclass(frozen=True)
class Made:
    """finished: a workspace after its first cycle.  under_way: a copy with an open second cycle."""

    finished: Path
    under_way: Path
    loop: SmallLoop
    coco: Path

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Stand in for the network and the labelling server."""
        self.loop.install(patch)
        patch.setattr(scoring, "load_detector", lambda *_: None)  # its weights are a word


def make_workspaces(folder: Path) -> Made:
    """Run a cycle, and begin a second one in a copy."""
    workspace = init_workspace(folder / "finished", ("bolt", "nut"))
    replace(workspace.root / FILE_NAME, "k = 25", "k = 4")
    with pytest.MonkeyPatch.context() as patch:
        loop = small_loop(open_workspace(workspace.root), folder, patch, images=12)
        made = Made(workspace.root, folder / "under_way", loop, folder / "val" / "coco.json")
        made.install(patch)
        assert run_cycle(loop.workspace, None, Silent()).finished
        _candidate(loop.workspace)
        loop.workspace.store.close()
        workspace.store.close()
        shutil.copytree(workspace.root, made.under_way)
        loop.workspace, loop.answered = open_workspace(made.under_way), 0.0
        assert not run_cycle(loop.workspace, None, Silent()).finished
        loop.workspace.store.close()
    return made


def _candidate(workspace: Workspace) -> None:
    """A model that was never in use, with scores that no manifest names."""
    folder = workspace.model_dir("import-1")
    shutil.copytree(workspace.model_dir("m0"), folder)
    register_model(workspace, "import-1", "import", file_sha256(folder / "weights.pth"), None, None)
    shutil.copytree(
        workspace.scores_dir(ScoreKey.of(workspace.config, "m0")),
        workspace.scores_dir(ScoreKey.of(workspace.config, "import-1")),
    )


def found(root: Path, depth: CheckDepth = CheckDepth.BYTES) -> list[Finding]:
    return list(examine(root, Silent(), depth).findings)


def checks(root: Path) -> set[str]:
    return {finding.check for finding in found(root)}


def assert_mended(root: Path, made: Made, run: Any, damage: Damage) -> None:
    """The damage is reported, nothing is changed by that, and the printed command repairs it."""
    do, check, text = damage
    do(root)
    before = files(root) if check != "images.unreadable" else {}
    findings = found(root)
    # The manifest of the cycle may name it, too.
    assert {finding.check for finding in findings} - {"cycles.verify"} == {check}
    assert text in findings[0].problem
    assert not before or files(root) == before
    made.loop.answered = 1.0
    run_mend(run, root, findings[0].mend.replace("COCO.json", str(made.coco)).partition(", with")[0])
    assert found(root) == []


def assert_named(root: Path, damage: Damage) -> None:
    """The damage is reported with a next step."""
    do, check, text = damage
    do(root)
    findings = found(root)
    # A row that is wrong may be seen twice: as such, and in the manifest of the cycle that used it.
    known = {check, "cycles.verify", "images.size", "sets.classes", "leaks.role"}
    assert {finding.check for finding in findings} <= known
    assert any(text in f"{f.subject}: {f.problem}" for f in findings if f.check == check), findings
    assert all(len(finding.mend) > 8 for finding in findings)


def run_mend(run: Any, root: Path, mend: str) -> None:
    """Type the command that was printed."""
    words = shlex.split(mend)
    if words[0] == "al-loop":
        status, out, err = run("-w", root, *words[1:])
        assert status == 0, out + err
    else:
        subprocess.run(words, check=True, cwd=root)


def sql(root: Path, *statements: str) -> None:
    """Change rows behind al-loop's back."""
    database = sqlite3.connect(root / "al-loop.db")
    for statement in statements:
        database.execute(statement)
    database.commit()
    database.close()


def one(root: Path, query: str) -> Any:
    database = sqlite3.connect(root / "al-loop.db")
    row = database.execute(query).fetchone()
    database.close()
    return row[0]


def files(root: Path) -> Mapping[str, tuple[int, int, bytes]]:
    return {
        str(path.relative_to(root)): (path.stat().st_mode, path.stat().st_mtime_ns, path.read_bytes())
        for path in root.rglob("*")
        if path.is_file()
    }


def a_photograph(root: Path) -> Path:
    return root / str(one(root, "SELECT file FROM images WHERE role = 'pool' ORDER BY id LIMIT 1"))


def write(path: Path, data: bytes = b"x") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def drop_first(path: Path) -> None:
    write_json(path, read_json(path)[1:])
