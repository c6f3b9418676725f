"""The labelling tasks of a workspace: what they are known by, which are open, and whether annotators see their images."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from al_loop.core.errors import LabelStudioError
from al_loop.images.repository import images_by_id
from al_loop.labelling.backend import connect, server_name
from al_loop.labelling.check import Finding
from al_loop.labelling.client.client import Api, Json, UnreachableError
from al_loop.labelling.client.image_serving import ImageServing, LocalFiles
from al_loop.labelling.client.task import OutgoingTask
from al_loop.labelling.server.server_state import status as server_status
from al_loop.labelling.tasks.push import batch_filter, check_image, queue_url
from al_loop.state.database.facts import first_fact, read_fact
from al_loop.state.database.pick_table import open_picks, picks_of
from al_loop.state.workspace import Workspace
from al_loop.structures.boxes import Boxes

#: How the fact is called that notes a project; the server's name follows.
PROJECT = "label_studio_project"
_NO_BOXES = Boxes(scores=np.zeros(0))
# Images that a check asks for; of more open tasks these are spread over the queue.
_MOST_IMAGES = 200
_NAMED = 5


def project_fact(workspace: Workspace) -> str:
    """Return what the workspace's project on its server is noted under."""
    return f"{PROJECT} {server_name(workspace)}"


def known_project(workspace: Workspace) -> int | None:
    """Return the project that the workspace has on its server, as far as is noted; the server is not asked."""
    noted = read_fact(workspace.store, project_fact(workspace))
    return int(noted) if noted else None


def batch_name(workspace: Workspace, cycle: int) -> str:
    """Return the name of a cycle's batch: what the keys of its tasks begin with."""
    picks = picks_of(workspace.store, cycle)
    return picks[0].task_key.rpartition("/")[0] if picks else f"{_mark(workspace)}/cycle-{cycle}"


def task_key(batch: str, image_id: str) -> str:
    """Return what a task is known by: workspace, cycle and image; the server's own ids are reused after a deletion."""
    return f"{batch}/{image_id}"


def queue_address(workspace: Workspace, pushed: Mapping[str, Any]) -> str | None:
    """Return where people label what a push has left, at the address that the server has now; None while it does not run.

    The embedded server has another address after its port was taken, and where the workspace is a copy: at the old one people
    would label for somebody else.
    """
    project, view = pushed.get("project_id"), pushed.get("view_id")
    if pushed.get("server") != "embedded" or project is None or view is None:
        return pushed.get("queue_url")
    there = server_status(workspace.server_home).url
    return None if there is None else queue_url(there, project, view)


def open_tasks(workspace: Workspace, cycle: int) -> list[OutgoingTask]:
    """Return the tasks of a cycle that people still have to do something about, in the order of the queue, without boxes."""
    rows = open_picks(workspace.store, cycle)
    files = images_by_id(workspace, [row.image_id for row in rows])
    return [
        OutgoingTask(
            row.task_key, file.id, file.path, file.path.name, file.width, file.height,
            _NO_BOXES, row.uncertainty, row.rank, row.reason,
        )
        for row, file in zip(rows, files, strict=True)
    ]  # fmt: skip


def check_images(workspace: Workspace, cycle: int, *, repair: bool = False) -> list[Finding]:
    """Ask for the image of each open task of a cycle as an annotator's browser will; of more than 200, for some of them.

    repair: first publish the images again, and point the tasks to where they are now.
    Raises LabelStudioError where the server cannot be asked.
    """
    project_id = known_project(workspace)
    tasks = open_tasks(workspace, cycle)
    if project_id is None or not tasks:
        return []
    connection, serving = connect(workspace)
    with connection.open() as api:
        there = _there(api, project_id, batch_name(workspace, cycle))
        known = [task for task in tasks if task.key in there]
        if repair:
            _publish(api, project_id, serving, known, there)
        chosen = np.unique(np.linspace(0, len(known) - 1, min(len(known), _MOST_IMAGES)).astype(int))
        missing = _missing(api, project_id, serving, [known[i] for i in chosen], there)
    said = f"the images of {len(chosen)} of {len(known)} open tasks of cycle {cycle}"
    findings = [Finding(said)] if not missing else [Finding(said, _fix(missing, serving, repair))]
    if len(known) < len(tasks):
        gone = f"{len(tasks) - len(known)} open tasks of cycle {cycle} are not on the server"
        findings.append(Finding(gone, "they were deleted there: al-loop cycle counts them as answered"))
    return findings


def _there(api: Api, project_id: int, batch: str) -> dict[str, Json]:
    """Return the server's tasks of a batch by our key."""
    found = api.tasks(project_id, batch_filter(batch), whole=False)
    return {str(task["data"].get("al_key")): task for task in found}


def _publish(
    api: Api, project_id: int, serving: ImageServing, tasks: Sequence[OutgoingTask], there: dict[str, Json]
) -> None:
    for key, url in serving.publish(api, project_id, tasks).items():
        if there[key]["data"].get("image") != url:
            there[key]["data"]["image"] = url
            api.change_data(there[key]["id"], there[key]["data"])


def _missing(
    api: Api, project_id: int, serving: ImageServing, tasks: Sequence[OutgoingTask], there: dict[str, Json]
) -> list[str]:
    """Return a sentence for each task whose image a browser does not get."""
    found = []
    for task in tasks:
        try:
            check_image(api, project_id, serving, task, str(there[task.key]["data"].get("image")))
        except UnreachableError:
            raise
        except LabelStudioError as error:
            found.append(f"task {there[task.key]['id']}: {error}")
    return found


def _fix(missing: Sequence[str], serving: ImageServing, repaired: bool) -> str:
    named = "; ".join(missing[:_NAMED]) + (
        f"; and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
    )
    if not repaired:
        return f"{len(missing)} are not shown to annotators ({named}). Mend it: al-loop label-studio check --repair"
    where = "start the server again" if isinstance(serving, LocalFiles) else "restore the server's own files"
    return (
        f"{len(missing)} are still not shown ({named}). Look at the server's log, or {where}, and check again"
    )


def _mark(workspace: Workspace) -> str:
    """Return what tells this workspace's tasks from those of others on the same server, made with the first batch.

    Not `workspace.mark`, which a copy has from the beginning: copies that begin to label at one server would mix.
    """
    return first_fact(workspace.store, "labelling", secrets.token_hex(4))
