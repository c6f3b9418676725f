"""Test whether a server meets the needs of the loop, and whether annotators see the images of open tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from hashlib import sha256

import numpy as np
from packaging.version import InvalidVersion, Version
from PIL import Image

from al_loop.core.errors import LabelStudioError
from al_loop.labelling.backend import connect
from al_loop.labelling.client.client import Api, Connection
from al_loop.labelling.client.failures import UnauthorizedError
from al_loop.labelling.client.image_serving import ImageServing, LocalFiles
from al_loop.labelling.client.responses import Json
from al_loop.labelling.client.task import OutgoingTask
from al_loop.labelling.gold import gold_of_cycle
from al_loop.labelling.open_tasks import batch_of, known_project, open_tasks
from al_loop.labelling.server.environment import VERSION
from al_loop.labelling.tasks.project import labelling_config
from al_loop.labelling.tasks.push import HiddenImageError, batch_filter, check_image, group_by_key
from al_loop.state.workspace import Workspace
from al_loop.structures.boxes import Boxes
from render.core.tempdirs import scratch_folder

_SKEW_S = 120.0  # labels are found by the server's clock: a wrong clock only misleads people
_NO_BOXES = Boxes(scores=np.zeros(0))
# Maximum number of images per check. If more tasks are open, a sample spread over the queue is checked.
_MAX_IMAGES = 200
_MAX_NAMED = 5
_TITLE = "al-loop check (may be deleted)"


@dataclass(frozen=True)
class Finding:
    """Result of one test. fix: what to do; "" if the test passed."""

    what: str
    fix: str = ""


def check_server(connection: Connection, images: ImageServing) -> list[Finding]:
    """Test a server's version, token, clock, rights and images; create a project for it and delete it.

    Raises LabelStudioError if no server answers, or a server other than Label Studio.
    """
    with connection.open() as api:
        findings = [_check_version(api.version())]
        try:
            user = api.whoami()
        except UnauthorizedError as error:
            return [*findings, Finding("the token", str(error))]
        kind = "personal access token" if connection.token.count(".") == 2 else "legacy token"
        findings.append(Finding(f"the {kind} belongs to {user.get('email', 'an unknown user')}"))
        return [*findings, _check_clock(api), *_check_rights(api, images)]


def _check_version(version: str) -> Finding:
    what = f"Label Studio {version}"
    try:
        tested, installed = (Version(v).release[:2] for v in (VERSION, version))
    except InvalidVersion:
        return Finding(what, f"its version cannot be read; al-loop is tested with {VERSION}")
    if installed == tested:
        return Finding(what)
    age = "older" if installed < tested else "newer"
    return Finding(
        what,
        f"it is {age} than {VERSION}, with which al-loop is tested. Install that version, or try a cycle of "
        "k = 1 first",
    )


def _check_clock(api: Api) -> Finding:
    try:
        skew = (datetime.now(UTC) - parsedate_to_datetime(api.date())).total_seconds()
    except (TypeError, ValueError):
        return Finding("its answers have no time", "check any proxy before it")
    what = f"its clock is {abs(skew):.0f} s {'behind' if skew > 0 else 'ahead of'} this one"
    fix = "no label is lost, but times in reports will look odd: set one of the clocks"
    return Finding(what, fix if abs(skew) > _SKEW_S else "")


def _check_rights(api: Api, images: ImageServing) -> list[Finding]:
    """Create a project, a task and an image as a push does, and delete them."""
    try:
        project = api.create_project(title=_TITLE, label_config=labelling_config(("a", "b")))
    except LabelStudioError as error:
        return [Finding("creating a project", f"{error}. Give the user the right to create projects")]
    try:
        task = {"data": {"image": "/data/none.png", "al_key": "check", "al_batch": "check"}}
        api.import_tasks(project, [task])
        count = len(api.tasks(project, whole=False))
        if count != 1:
            return [Finding(f"{count} tasks are listed after one was created", "read the server's log")]
    except LabelStudioError as error:
        return [Finding("creating and listing a task", str(error))]
    else:
        return [Finding("projects and tasks can be created"), _check_served_image(api, project, images)]
    finally:
        api.delete_project(project)


def _check_served_image(api: Api, project: int, images: ImageServing) -> Finding:
    """Publish a small image as a push does, and request it as a browser does."""
    with scratch_folder("check") as folder:
        path = folder / "check.png"
        Image.new("RGB", (8, 8), "white").save(path)
        name = sha256(path.read_bytes()).hexdigest()
        task = OutgoingTask("check", name, path, path.name, 8, 8, _NO_BOXES, 0.0, 0, "")
        try:
            url = images.publish(api, project, [task])[task.key]
            check_image(api, project, images, task, url)
        except LabelStudioError as error:
            return Finding("showing an image to annotators", str(error))
    return Finding(f"annotators get images: {url}")


def check_images(workspace: Workspace, cycle: int, *, repair: bool = False) -> list[Finding]:
    """Request the image of each open task of a cycle as a browser does; of more than 200 tasks, a sample.

    repair: first publish the images again, and correct their addresses in the tasks.
    Raises LabelStudioError if a request to the server fails.
    """
    project_id = known_project(workspace)
    tasks = [*open_tasks(workspace, cycle), *gold_of_cycle(workspace, cycle)]
    if project_id is None or not tasks:
        return []
    connection, serving = connect(workspace)
    with connection.open() as api:
        batches = sorted({batch_of(task.key) for task in tasks})
        listed = group_by_key(
            item for batch in batches for item in api.tasks(project_id, batch_filter(batch), whole=False)
        )
        known = [(task, listed[task.key][0]) for task in tasks if task.key in listed]
        if repair:
            urls = serving.publish(api, project_id, [task for task, _ in known])
            for task, item in known:
                if item["data"].get("image") != urls[task.key]:
                    item["data"]["image"] = urls[task.key]
                    api.change_data(item["id"], item["data"])
        chosen = np.unique(np.linspace(0, len(known) - 1, min(len(known), _MAX_IMAGES)).astype(int))
        missing = _hidden_images(api, project_id, serving, [known[i] for i in chosen])
    what = f"the images of {len(chosen)} of {len(known)} open tasks of cycle {cycle}"
    findings = [Finding(what, _fix_images(missing, serving, repair) if missing else "")]
    if len(known) < len(tasks):
        what = f"{len(tasks) - len(known)} open tasks of cycle {cycle} are not on the server"
        findings.append(Finding(what, "they were deleted there: al-loop cycle counts them as answered"))
    return findings


def _hidden_images(
    api: Api, project_id: int, serving: ImageServing, tasks: Sequence[tuple[OutgoingTask, Json]]
) -> list[str]:
    """Return a message for each task whose image is not served to a browser."""
    problems = []
    for task, item in tasks:
        try:
            check_image(api, project_id, serving, task, str(item["data"].get("image")))
        except HiddenImageError as error:
            problems.append(f"task {item['id']}: {error}")
    return problems


def _fix_images(missing: Sequence[str], serving: ImageServing, repaired: bool) -> str:
    """Return what to do about the images that are not served."""
    more = f"; and {len(missing) - _MAX_NAMED} more" if len(missing) > _MAX_NAMED else ""
    problems = "; ".join(missing[:_MAX_NAMED]) + more
    if not repaired:
        return (
            f"{len(missing)} are not shown to annotators ({problems}). "
            "Repair: al-loop label-studio check --repair"
        )
    step = "restart the server" if isinstance(serving, LocalFiles) else "restore the server's files"
    return (
        f"{len(missing)} are still not shown ({problems}). Read the server's log, or {step}, and check again"
    )
