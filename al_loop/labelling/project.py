"""The labelling project of a workspace: its labelling config and its classes."""

from __future__ import annotations

import colorsys
import html
from collections.abc import Sequence
from xml.etree import ElementTree

from al_loop.errors import LabelStudioError
from al_loop.labelling.connection import NEW_PROJECT_COMMAND, Api, Connection
from al_loop.labelling.convert import FROM_NAME, TO_NAME
from al_loop.resources import resource

# In the order of a keyboard; the letters are those that Label Studio's own shortcuts leave free.
_HOTKEYS = "1234567890qwetasdfgzxcvb"
_GOLDEN_ANGLE = 0.381966  # of a turn: neighbours in the list differ most in hue

_INSTRUCTIONS = """\
<p>Draw one tight rectangle around every visible part, and choose its class: {classes}.</p>
<ul>
<li>The rectangles you see first were proposed by the model: correct, delete or add where it is wrong.</li>
<li>Nothing to label on the image? Delete all rectangles and submit it empty.</li>
<li>The image cannot be judged? Skip it.</li>
</ul>"""


def ensure_project(
    connection: Connection, title: str, classes: Sequence[str], project_id: int | None = None
) -> int:
    """Return the id of the workspace's project, created when `project_id` is None.

    Raises NotFoundError when the project was deleted, and LabelStudioError when its labels are not
    `classes`; both say what to do.
    """
    with connection.open() as api:
        if project_id is None:
            return _find_unused(api, _title(title), classes) or _create(api, _title(title), classes)
        check_labels(project_id, api.project(project_id)["label_config"], classes)
        return project_id


def labelling_config(classes: Sequence[str]) -> str:
    """Return the labelling config with one label per class, its colour and its hotkey."""
    if not classes or len(set(classes)) != len(classes):
        raise LabelStudioError(f"expected distinct classes, at least one, got {list(classes)}")
    root = ElementTree.fromstring(resource("label_studio/labeling_config.xml").read_text(encoding="utf-8"))
    control = next(root.iter("RectangleLabels"))
    for index, name in enumerate(classes):
        label = ElementTree.SubElement(control, "Label", value=name, background=_colour(index))
        if index < len(_HOTKEYS):
            label.set("hotkey", _HOTKEYS[index])
    return ElementTree.tostring(root, encoding="unicode")


def check_labels(project_id: int, config: str, classes: Sequence[str]) -> None:
    """Raise LabelStudioError when a project's labelling config does not fit `classes`."""
    there = read_labels(config)
    if not there:
        raise LabelStudioError(
            f"project {project_id} has no rectangle labels named {FROM_NAME!r} on an image named "
            f"{TO_NAME!r}: its labelling config was replaced. Put the config of "
            f"label_studio/labeling_config.xml back, or begin another project with: {NEW_PROJECT_COMMAND}"
        )
    missing = [name for name in classes if name not in there]
    extra = [name for name in there if name not in classes]
    if missing or extra:
        raise LabelStudioError(
            f"the classes of project {project_id} were changed in Label Studio: it has {', '.join(there)}; "
            f"the workspace has {', '.join(classes)} (missing there: {', '.join(missing) or 'none'}; "
            f"unknown here: {', '.join(extra) or 'none'}). Change them back under Settings, Labeling "
            f"Interface, or begin another project with: {NEW_PROJECT_COMMAND}"
        )


def read_labels(config: str) -> list[str]:
    """Return the labels of our control in a labelling config, in their order; none when it is not there."""
    try:
        root = ElementTree.fromstring(config)
    except ElementTree.ParseError:
        return []
    for control in root.iter("RectangleLabels"):
        if (control.get("name"), control.get("toName")) == (FROM_NAME, TO_NAME):
            return [label.get("alias") or label.get("value") or "" for label in control.iter("Label")]
    return []


def _create(api: Api, title: str, classes: Sequence[str]) -> int:
    return api.create_project(
        title=title,
        description="Made by al-loop: each cycle adds its tasks and a view of its own.",
        label_config=labelling_config(classes),
        expert_instruction=_INSTRUCTIONS.format(classes=html.escape(", ".join(classes))),
        show_instruction=True,
        show_skip_button=True,
        enable_empty_annotation=True,
        show_collab_predictions=True,
        maximum_annotations=1,
        sampling="Sequential sampling",
        skip_queue="IGNORE_SKIPPED",  # a skip is an answer: the image does not come back
    )


def _find_unused(api: Api, title: str, classes: Sequence[str]) -> int | None:
    """Return a project we made and were killed before we could note its id: same title, labels, no task."""
    for project in api.projects(title):
        if project["title"] == title and project.get("task_number") == 0:
            try:
                check_labels(project["id"], project["label_config"], classes)
            except LabelStudioError:
                continue
            return int(project["id"])
    return None


def _title(title: str) -> str:
    """Return a title of the 3 to 50 characters that the server accepts."""
    return (title if len(title) >= 3 else f"al-loop {title}")[:50]


def _colour(index: int) -> str:
    """Return the colour of a class: hues apart, dark enough for white text, light and dark in turn."""
    lightness = 0.36 if index % 2 else 0.46
    rgb = colorsys.hls_to_rgb(index * _GOLDEN_ANGLE % 1.0, lightness, 0.85)
    return "#" + "".join(f"{round(255 * part):02x}" for part in rgb)
