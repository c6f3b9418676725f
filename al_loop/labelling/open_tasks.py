"""The labelling tasks of a workspace: their project, their keys, and the open tasks."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

import numpy as np

from al_loop.images.repository import images_by_id
from al_loop.labelling.backend import server_name
from al_loop.labelling.client.task import OutgoingTask
from al_loop.labelling.server.server_state import status as server_status
from al_loop.labelling.tasks.push import queue_url, tab_url
from al_loop.state.database.facts import first_fact, read_fact
from al_loop.state.database.pick_table import open_picks, picks_of, pushed_picks
from al_loop.state.workspace import Workspace
from al_loop.structures.boxes import Boxes

#: Key of the fact that holds a project's id; the server's name follows.
PROJECT = "label_studio_project"
#: For an annotator who must not see what the model predicts.
NO_BOXES = Boxes(scores=np.zeros(0))


def project_fact(workspace: Workspace) -> str:
    """Return the key of the fact that holds the workspace's project on its server."""
    return f"{PROJECT} {server_name(workspace)}"


def known_project(workspace: Workspace) -> int | None:
    """Return the workspace's project on its server as recorded, without a request; None if there is none."""
    number = read_fact(workspace.store, project_fact(workspace))
    return int(number) if number else None


def batch_name(workspace: Workspace, cycle: int, *, validation: bool = False) -> str:
    """Return the name of a cycle's batch, the prefix of its task keys.

    validation: the batch of the images for the validation set.
    """
    keys = [row.task_key for row in picks_of(workspace.store, cycle) if row.validation == validation]
    kind = "validation" if validation else "cycle"
    return batch_of(keys[0]) if keys else f"{_workspace_mark(workspace)}/{kind}-{cycle}"


def batch_of(key: str) -> str:
    """Return the name of the batch of a task."""
    return key.rpartition("/")[0]


def task_key(batch: str, image_id: str) -> str:
    """Return the key of a task: workspace, cycle and image. The server reuses its own ids."""
    return f"{batch}/{image_id}"


def queue_address(workspace: Workspace, pushed: Mapping[str, Any]) -> str | None:
    """Return the address at which people label the tasks of a push; None if the embedded server is stopped.

    The embedded server changes its address if its port was taken, or if the workspace is a copy: at the old
    one people would label for another workspace.
    """
    project, view = pushed.get("project_id"), pushed.get("view_id")
    if pushed.get("server") != "embedded" or project is None or view is None:
        return pushed.get("queue_url")
    url = server_status(workspace.server_home).url
    return None if url is None else queue_url(url, project, view)


def tab_address(workspace: Workspace, review: Mapping[str, Any]) -> str | None:
    """Return the address of the tab of a review; None if the embedded server is stopped."""
    if review["server"] != "embedded":
        return str(review["url"])
    url = server_status(workspace.server_home).url
    return None if url is None else tab_url(url, review["project_id"], review["view_id"])


def open_tasks(workspace: Workspace, cycle: int) -> list[OutgoingTask]:
    """Return the unanswered tasks of a cycle in the order of the queue, without boxes.

    If several people label each image, those that further people may have to answer, too.
    """
    several = workspace.config.label_studio.overlap > 1
    rows = (pushed_picks if several else open_picks)(workspace.store, cycle)
    files = images_by_id(workspace, [row.image_id for row in rows])
    return [
        OutgoingTask(
            row.task_key, file.id, file.path, file.path.name, file.width, file.height,
            NO_BOXES, row.uncertainty, row.rank, row.reason,
        )
        for row, file in zip(rows, files, strict=True)
    ]  # fmt: skip


def _workspace_mark(workspace: Workspace) -> str:
    """Return the prefix of this workspace's task keys on a shared server; the first batch creates it.

    Not `workspace.mark`, which is the same in every copy of a workspace: the tasks of copies would mix.
    """
    return first_fact(workspace.store, "labelling", secrets.token_hex(4))
