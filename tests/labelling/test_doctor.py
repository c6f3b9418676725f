"""The doctor and a real server: whether it runs, has our classes and shows the images of open tasks."""

from __future__ import annotations

import shlex
from typing import Any

import pytest
from support.labelling_tasks import push_cycle

from al_loop.core.console import Silent
from al_loop.doctor import Finding, examine
from al_loop.labelling.open_tasks import known_project
from al_loop.labelling.server import server
from al_loop.labelling.tasks.project import labelling_config
from al_loop.state.workspace import Workspace

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.usefixtures("temporary")]


def found(workspace: Workspace) -> list[Finding]:
    findings = examine(workspace.root, Silent()).findings
    return [finding for finding in findings if finding.check.startswith("server")]


def test_a_cycle_that_waits_for_people(filled: Workspace, run: Any) -> None:
    home = filled.server_home
    try:
        info = server.start(home)
        push_cycle(filled)
        filled.store.execute(
            "INSERT INTO stages (job, name, input_hash, state, started_at) "
            "VALUES ('cycle-1', 'push', 'h', 'done', 'now')"
        )
        assert found(filled) == []

        for shown in (home / "media").rglob("*.png"):
            shown.unlink()
        (finding,) = found(filled)
        assert (finding.check, finding.subject) == (
            "server.images",
            "the images of 2 of 2 open tasks of cycle 1",
        )
        assert run("-w", filled.root, *shlex.split(finding.mend)[1:])[0] == 0
        assert found(filled) == []

        project = known_project(filled)
        assert project is not None
        with info.connection.open() as api:
            api.update_project(project, label_config=labelling_config(("bolt", "screw")))
        (finding,) = found(filled)
        assert finding.check == "server.project"
        assert "missing there: nut; unknown here: screw" in finding.problem

        server.stop(home)
        (finding,) = found(filled)
        assert (finding.check, finding.mend) == ("server.stopped", "al-loop label-studio start")
    finally:
        server.stop(home)
