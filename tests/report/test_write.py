"""Where the report is written, and what writing needs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support.report_page import written
from support.workspace_history import (
    add_cycle,
)

from al_loop.core.errors import DataError
from al_loop.report import write_report
from al_loop.state.workspace import Workspace

pytestmark = pytest.mark.integration


def test_where_it_is_written(workspace: Workspace, tmp_path: Path) -> None:
    assert write_report(workspace, tmp_path / "new" / "folder" / "r.html").is_file()
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"r\.html cannot be written .*--out"):
        write_report(workspace, tmp_path / "file" / "r.html")


def test_a_killed_report_leaves_the_old_one(ran: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    before = written(ran).source
    add_cycle(ran, 2, None)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("al_loop.core.files.os.replace", killed)
        with pytest.raises(KeyboardInterrupt):
            written(ran)
    assert (ran.root / "report.html").read_text() == before
    assert "Cycle 2" in written(ran).text


def test_the_report_reads_without_writing(ran: Workspace) -> None:
    before = json.dumps([dict(row) for row in ran.store.rows("SELECT * FROM picks")])
    written(ran)
    assert json.dumps([dict(row) for row in ran.store.rows("SELECT * FROM picks")]) == before
    assert not ran.store.connection.in_transaction


def test_writing_needs_no_torch_and_importing_no_matplotlib(ran: Workspace) -> None:
    code = (
        "import sys; from pathlib import Path; from al_loop.report import write_report;"
        "assert not {'matplotlib', 'jinja2', 'torch'} & sys.modules.keys();"
        "from al_loop.state.workspace import open_workspace;"
        f"write_report(open_workspace(Path({str(ran.root)!r})), Path({str(ran.root / 'other.html')!r}));"
        "assert 'torch' not in sys.modules; assert 'matplotlib.pyplot' not in sys.modules;"
        "assert not [name for name in sys.modules if name.startswith('al_loop.detector')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert (ran.root / "other.html").is_file()
