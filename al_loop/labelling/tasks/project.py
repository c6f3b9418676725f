"""The labelling project of a workspace: its labelling config and classes."""

from __future__ import annotations

import colorsys
import html
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple
from xml.etree import ElementTree

from al_loop.core.config import Drawn
from al_loop.core.errors import LabelStudioError
from al_loop.core.resources import resource
from al_loop.labelling.client.client import Api, Connection
from al_loop.labelling.client.failures import NEW_PROJECT_COMMAND
from al_loop.labelling.tasks.regions import CONTROLS, FROM_NAME, TO_NAME, TYPES

# In keyboard order, without the keys of Label Studio's tools (b, e, h, p, r, v) and u, which deselects a
# region. A label without a key may get that of a tool from Label Studio: the key then does both.
_HOTKEYS = [*"1234567890qwtasdfgzxcyiojklnm"]
_HOTKEYS += [f"shift+{key}" for key in _HOTKEYS[10:]]  # shift with a digit zooms
_JOINT = "\N{WORD JOINER}"  # invisible
_GOLDEN_ANGLE = 0.381966  # as a share of a full turn: adjacent classes get clearly different hues

_RECTANGLES = """\
<p>Draw one tight rectangle around every visible part, and choose its class: {classes}.</p>
<ul>
<li>The first rectangles are the model's: correct, delete or add where it is wrong.</li>"""
_POINTS = """
<li>A missing part: choose its class under Extreme points and click on its top, left, bottom and right, then
again on the top. Or draw a rectangle.</li>"""
_OUTLINES = """\
<p>Draw one polygon around every visible part, or paint it with the brush. Choose its class: {classes}.</p>
<ul>
<li>The first outlines and rectangles are the model's: correct, delete or add where it is wrong.</li>
<li>Delete a rectangle once its part has an outline. A remaining one counts as a part without an
outline.</li>"""
_BOTH = """
<li>Nothing to label on the image? Delete everything and submit it empty.</li>
<li>The image cannot be judged? Skip it.</li>
</ul>"""


class _Interface(NamedTuple):
    """The interface for some tools: its labelling config, instructions, and the setting that selects it."""

    file: str
    instructions: str
    setting: str


_INTERFACES: Mapping[Drawn, _Interface] = {
    "rectangles": _Interface("labeling", _RECTANGLES, 'task = "detection"'),
    "extreme-points": _Interface(
        "extreme_points", _RECTANGLES + _POINTS, 'label_studio.boxes = "extreme-points"'
    ),
    "outlines": _Interface("segmentation", _OUTLINES, 'task = "segmentation"'),
}


def ensure_project(
    connection: Connection,
    title: str,
    classes: Sequence[str],
    project_id: int | None = None,
    *,
    drawn: Drawn = "rectangles",
    overlap: int = 1,
) -> int:
    """Return the id of the workspace's project; create it if `project_id` is None.

    drawn: with which tools people draw.
    overlap: number of people who label each task. A project of a larger number keeps it.
    Raises NotFoundError if the project was deleted, LabelStudioError if its labels are not `classes` or its
    controls do not fit `drawn`.
    """
    with connection.open() as api:
        if project_id is None:
            # The server accepts 3 to 50 characters.
            title = (title if len(title) >= 3 else f"al-loop {title}")[:50]
            project_id = _find_unused(api, title, classes, drawn)
            if project_id is None:
                return _create(api, title, classes, drawn, overlap)
        project = api.project(project_id)
        check_labels(project_id, project["label_config"], classes, drawn)
        if project.get("maximum_annotations", overlap) < overlap:
            api.update_project(project_id, maximum_annotations=overlap)
        return project_id


def labelling_config(classes: Sequence[str], drawn: Drawn = "rectangles") -> str:
    """Return the labelling config: each control has a label with a colour and a hotkey for each class."""
    if not classes or len(set(classes)) != len(classes):
        raise LabelStudioError(f"expected one or more distinct classes, got {list(classes)}")
    root = ElementTree.fromstring(resource(_config_file(drawn)).read_text(encoding="utf-8"))
    keys = iter(_HOTKEYS)
    for control in _controls(root):
        for index, name in enumerate(classes):
            # Without the joint the page would replace "$price" by a field of the task.
            text = name.replace("$", f"${_JOINT}")
            label = ElementTree.SubElement(control, "Label", value=text, background=_colour(index))
            if text != name:
                label.set("alias", name)  # in results and predictions
            if key := next(keys, None):
                label.set("hotkey", key)
    return ElementTree.tostring(root, encoding="unicode")


def check_labels(project_id: int, config: str, classes: Sequence[str], drawn: Drawn = "rectangles") -> None:
    """Raise LabelStudioError if a project's labelling config does not fit `classes` and `drawn`."""
    labels_of = read_labels(config)
    if not labels_of.get(FROM_NAME):
        raise LabelStudioError(
            f"project {project_id} has no rectangle labels named {FROM_NAME!r} on an image named "
            f"{TO_NAME!r}: its labelling config was replaced. Restore the config of "
            f"{_config_file(drawn)}, or begin another project with: {NEW_PROJECT_COMMAND}"
        )
    wanted = [CONTROLS[kind] for kind in TYPES[drawn]]
    if set(labels_of) != set(wanted):
        raise LabelStudioError(
            f"project {project_id} has the controls {', '.join(labels_of)}; al-loop.toml says "
            f"{_INTERFACES[drawn].setting}, which needs {', '.join(wanted)}. "
            f"Begin another project with: {NEW_PROJECT_COMMAND} (labels of finished cycles stay). Or change "
            f"the controls under Settings, Labeling Interface, to those of {_config_file(drawn)}"
        )
    for control, labels in labels_of.items():
        missing = [name for name in classes if name not in labels]
        extra = [name for name in labels if name not in classes]
        if missing or extra:
            raise LabelStudioError(
                f"the classes of project {project_id} were changed in Label Studio: control {control!r} has "
                f"{', '.join(labels) or 'none'}; the workspace has {', '.join(classes)} (missing there: "
                f"{', '.join(missing) or 'none'}; unknown here: {', '.join(extra) or 'none'}). Change them "
                "back under Settings, Labeling Interface, or begin another project with: "
                f"{NEW_PROJECT_COMMAND}"
            )


def read_labels(config: str) -> dict[str, list[str]]:
    """Return the labels of each of our controls in a labelling config, by the name of the control."""
    try:
        root = ElementTree.fromstring(config)
    except ElementTree.ParseError:
        return {}
    elements = {control.get("name", ""): control.iter("Label") for control in _controls(root)}
    return {
        name: [label.get("alias") or label.get("value") or "" for label in labels]
        for name, labels in elements.items()
    }


def _controls(root: ElementTree.Element) -> list[ElementTree.Element]:
    """Return our controls in a labelling config."""
    named = [item for item in root.iter() if item.get("name") == CONTROLS.get(item.tag.lower(), "")]
    return [item for item in named if item.get("toName") == TO_NAME]


def _config_file(drawn: Drawn) -> str:
    return f"label_studio/{_INTERFACES[drawn].file}_config.xml"


def _create(api: Api, title: str, classes: Sequence[str], drawn: Drawn, overlap: int) -> int:
    instructions = _INTERFACES[drawn].instructions + _BOTH
    return api.create_project(
        title=title,
        description="Created by al-loop: each cycle adds its tasks and a view.",
        label_config=labelling_config(classes, drawn),
        expert_instruction=instructions.format(classes=html.escape(", ".join(classes))),
        show_instruction=True,
        show_skip_button=True,
        enable_empty_annotation=True,
        show_collab_predictions=True,
        maximum_annotations=overlap,
        sampling="Sequential sampling",
        skip_queue="IGNORE_SKIPPED",  # a skipped task does not return to the queue
    )


def _find_unused(api: Api, title: str, classes: Sequence[str], drawn: Drawn) -> int | None:
    """Return an empty project with this title and labels, left by a kill before its id was stored."""
    for project in api.projects(title):
        if project["title"] == title and project.get("task_number") == 0:
            with suppress(LabelStudioError):
                check_labels(project["id"], project["label_config"], classes, drawn)
                return int(project["id"])
    return None


def _colour(index: int) -> str:
    """Return a class's colour: a distinct hue, dark enough for white text, alternately light and dark."""
    lightness = 0.36 if index % 2 else 0.46
    rgb = colorsys.hls_to_rgb(index * _GOLDEN_ANGLE % 1.0, lightness, 0.85)
    return "#" + "".join(f"{round(255 * part):02x}" for part in rgb)
