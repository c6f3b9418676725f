"""Is a server fit for the loop? Everything that would go wrong later, asked before."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from hashlib import sha256

import numpy as np
from PIL import Image

from al_loop.core.errors import LabelStudioError
from al_loop.labelling.client.client import Api, Connection, UnauthorizedError
from al_loop.labelling.client.image_serving import ImageServing
from al_loop.labelling.client.task import OutgoingTask
from al_loop.labelling.server.environment import VERSION
from al_loop.labelling.tasks.project import labelling_config
from al_loop.labelling.tasks.push import check_image
from al_loop.structures.boxes import Boxes
from render.core.tempdirs import scratch_folder

_SKEW_S = 120.0  # labels are found by the server's own clock: only people are confused by another
_NOTHING = Boxes(scores=np.zeros(0))
_TITLE = "al-loop check (may be deleted)"


@dataclass(frozen=True)
class Finding:
    """One thing that was asked. fix: what to do about it, "" where it is as it should be."""

    what: str
    fix: str = ""


def inspect(connection: Connection, images: ImageServing) -> list[Finding]:
    """Ask a server for its version, our rights, its clock, and for an image; makes a project and deletes it again.

    Raises LabelStudioError where nothing answers, or what answers is no Label Studio.
    """
    with connection.open() as api:
        found = [_version(api.version())]
        try:
            who = api.whoami()
        except UnauthorizedError as error:
            return [*found, Finding("the token", str(error))]
        kind = "personal access token" if connection.token.count(".") == 2 else "legacy token"
        found.append(Finding(f"the {kind} is that of {who.get('email', 'somebody')}"))
        found.append(_clock(api))
        found += _rights(api, images)
    return found


def _version(version: str) -> Finding:
    tried, there = (tuple(int(n) for n in v.split(".")[:2] if n.isdigit()) for v in (VERSION, version))
    said = f"Label Studio {version}"
    if there == tried:
        return Finding(said)
    older = "older" if there < tried else "newer"
    return Finding(
        said,
        f"it is {older} than {VERSION}, which al-loop is tested with: change it, or try a cycle of k = 1 first",
    )


def _clock(api: Api) -> Finding:
    try:
        skew = (datetime.now(UTC) - parsedate_to_datetime(api.date())).total_seconds()
    except (TypeError, ValueError):
        return Finding("its answers name no time", "check any proxy before it")
    said = f"its clock is {abs(skew):.0f} s {'behind' if skew > 0 else 'ahead of'} this one"
    if abs(skew) <= _SKEW_S:
        return Finding(said)
    return Finding(said, "no label is lost by it, but times in reports will look odd: set one of the clocks")


def _rights(api: Api, images: ImageServing) -> list[Finding]:
    """Make a project, a task and a view of an image, and delete them: what every push does."""
    try:
        project = api.create_project(title=_TITLE, label_config=labelling_config(("a", "b")))
    except LabelStudioError as error:
        return [Finding("making a project", f"{error}. Give the user the right to make projects")]
    try:
        api.import_tasks(
            project, [{"data": {"image": "/data/none.png", "al_key": "check", "al_batch": "check"}}]
        )
        there = api.tasks(project, {"conjunction": "and", "items": []}, whole=False)
        if len(there) != 1:
            return [Finding(f"{len(there)} tasks are listed after one was made", "look at the server's log")]
    except LabelStudioError as error:
        return [Finding("making and listing a task", str(error))]
    else:
        return [Finding("projects and tasks can be made"), _image(api, project, images)]
    finally:
        api.delete_project(project)


def _image(api: Api, project: int, images: ImageServing) -> Finding:
    """Serve a small image as the tasks' are, and ask for it as a browser does."""
    with scratch_folder("check") as folder:
        path = folder / "check.png"
        Image.new("RGB", (8, 8), "white").save(path)
        name = sha256(path.read_bytes()).hexdigest()
        task = OutgoingTask("check", name, path, path.name, 8, 8, _NOTHING, 0.0, 0, "")
        try:
            url = images.publish(api, project, [task])[task.key]
            check_image(api, project, images, task, url)
        except LabelStudioError as error:
            return Finding("showing an image to annotators", str(error))
    return Finding(f"annotators get images: {url}")
