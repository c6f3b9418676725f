"""Check rights, disk, leftovers, installed packages and the labelling server."""

from __future__ import annotations

import re
import shlex
import shutil
import sqlite3
import stat
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from msgspec import structs

from al_loop.core.errors import ConfigError, LabelStudioError
from al_loop.core.frozen_settings import thawed
from al_loop.doctor.finding import CheckContext, Finding
from al_loop.labelling.backend import connect, server_name
from al_loop.labelling.check import check_images
from al_loop.labelling.open_tasks import known_project
from al_loop.labelling.server.credentials import read_credentials
from al_loop.labelling.server.server_state import status
from al_loop.labelling.tasks.project import check_labels
from al_loop.loop.cycle_record import open_cycle_row
from al_loop.state.database.cycle_table import CycleRow
from al_loop.state.database.integrity import first_damage
from al_loop.state.database.stage_table import read_stage
from al_loop.state.leftovers import leftovers

_ROOM = 1 << 30
_RESTORE = "al-loop label-studio restore FILE, with a backup of al-loop label-studio backup"


def rights(context: CheckContext) -> Iterator[Finding]:
    """Find private files that others may read."""
    for path in context.workspace.private:
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
        except OSError:
            continue
        if mode & 0o077:
            name = str(path.relative_to(context.workspace.root))
            mend = f"chmod {'700' if path.is_dir() else '600'} {shlex.quote(str(path))}"
            yield Finding("rights", name, f"others may read it (mode {mode:o})", mend)


def disk(context: CheckContext) -> Iterator[Finding]:
    """Check the free space of the disk."""
    root = context.workspace.root
    free = shutil.disk_usage(root).free
    if free < _ROOM:
        yield Finding("disk", str(root), f"only {free >> 20} MiB are free on its disk", "al-loop gc")


def left(context: CheckContext) -> Iterator[Finding]:
    """Find leftovers of killed runs, unless a command is at work."""
    root = context.workspace.root
    for item in leftovers(context.workspace) if context.at_work is None else ():
        name = item.path.relative_to(root) if item.path.is_relative_to(root) else item.path
        yield Finding("leftovers", str(name), item.reason, "al-loop gc")


def packages(context: CheckContext) -> Iterator[Finding]:
    """Find packages that are missing or of another version than required."""
    from packaging.requirements import Requirement

    try:
        lines = requires("al-loop") or []
    except PackageNotFoundError:
        return  # run from a checkout
    for needed in map(Requirement, lines):
        if needed.marker is not None and not needed.marker.evaluate({"extra": ""}):
            continue
        try:
            installed = version(needed.name)
            if needed.specifier.contains(installed, prereleases=True):
                continue
            problem = f"is {installed}; expected {needed}"
        except PackageNotFoundError:
            problem = f"is not installed; expected {needed}"
        mend = f"python -m pip install {shlex.quote(str(needed))}"
        yield Finding("packages", needed.name, problem, mend)


def server(context: CheckContext) -> Iterator[Finding]:
    """Check logins and database of the embedded server."""
    home = context.workspace.server_home
    data = home / "data" / "label_studio.sqlite3"
    if not data.is_file():
        return
    try:
        read_credentials(home)
    except LabelStudioError as error:
        yield Finding("server.logins", "label-studio/credentials.json", str(error), _RESTORE)
    if not context.quick and (damage := _damage(data)):
        yield Finding("server.damaged", "label-studio/data", damage, _RESTORE)


def _damage(path: Path) -> str | None:
    try:
        return first_damage(path)
    except sqlite3.DatabaseError as error:
        # Locked: the server runs. Unable to open: nothing can be written here.
        busy = isinstance(error, sqlite3.OperationalError) and re.search("locked|unable to open", str(error))
        return None if busy else str(error)


def labelling(context: CheckContext) -> Iterator[Finding]:
    """While a cycle waits for labels, check that its server runs, has the classes and shows the images.

    A server of the user's own gets the token, so it is asked only with `ask`: the workspace may be foreign.
    """
    workspace = context.workspace
    row = open_cycle_row(workspace)
    stage = None if row is None else read_stage(workspace.store, f"cycle-{row.number}", "push")
    if stage is None or stage.state != "done":
        row = None
    if server_name(workspace) == "embedded":
        state = status(workspace.server_home)
        if state.running and not state.answers:
            problem = f"process {state.pid} does not answer"
            yield Finding("server.hangs", "label-studio", problem, "al-loop label-studio stop")
        elif row is not None and not state.running:
            problem = f"cycle {row.number} waits for labels, and no server runs"
            yield Finding("server.stopped", "label-studio", problem, "al-loop label-studio start")
        can_ask = state.answers
    else:
        can_ask = context.ask
    if row is not None and can_ask:
        yield from _tasks(context, row)


def _tasks(context: CheckContext, row: CycleRow) -> Iterator[Finding]:
    workspace = context.workspace
    project = known_project(workspace)
    if project is None:
        return  # the cycle was pushed to another server, as `al-loop cycle` reports
    try:
        with connect(workspace)[0].open() as api:
            config = api.project(project)["label_config"]
        # The task is that of the cycle; [label_studio] is read from the file.
        settings = structs.replace(thawed(row.settings), label_studio=workspace.config.label_studio)
        check_labels(project, config, workspace.config.classes, settings.drawn)
        for item in [] if context.quick else check_images(workspace, row.number):
            if item.fix:
                yield Finding("server.images", item.what, item.fix, "al-loop label-studio check --repair")
    except (LabelStudioError, ConfigError) as error:
        yield Finding("server.project", server_name(workspace), str(error), "al-loop label-studio check")
